package address

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/resources"
)

// Network is the node's network, as far as the floating address needs it.
type Network interface {
	// Home returns the interface that has addr, or whose network contains it.
	Home(addr netip.Addr) (link string, err error)
	// Add puts addr on the interface whose network contains it and returns the
	// interface's name. An address that is there already is not an error.
	Add(addr netip.Addr) (link string, err error)
	// Remove aborts the connections on addr and takes it off whatever interface
	// has it. An address that isn't there is not an error.
	Remove(addr netip.Addr) error
	// Leftovers returns the addresses that an antlerd added, now or before.
	Leftovers() ([]netip.Addr, error)
	// Join gets ready to announce addr on a link. From then on claimed is called
	// from another goroutine with whoever else says that addr is theirs.
	Join(link string, addr netip.Addr, claimed func(net.HardwareAddr)) (Segment, error)
	// Watch returns a channel that is sent to when addresses or interfaces have
	// changed, until ctx ends.
	Watch(ctx context.Context) <-chan struct{}
}

// Segment is the network segment on which one address is announced.
type Segment interface {
	// Announce tells all neighbours where the address is, and asks whether
	// somebody else has it.
	Announce() error
	// Close ends listening for other claims.
	Close() error
}

// Events is the cluster's log of what happened.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// Times of the address controller. None of them is part of the safety argument.
type Times struct {
	// Announce are the times of the first announcements, counted from when the
	// address was added; after the last one they go on every Repeat. With each it is
	// made sure that the address is still there, as it is when the kernel tells of a
	// change.
	Announce []time.Duration
	Repeat   time.Duration
	// Again is after how long that which failed is tried again.
	Again time.Duration
	// Leftover is how long an address of a former antlerd may stay while this
	// one finds out whether the node still serves.
	Leftover time.Duration
	// Claim is how long another node's claim is reported after it was last
	// heard; Defend is the shortest time between two answers to it.
	Claim, Defend time.Duration
}

// DefaultTimes returns the product's times: four announcements in the first two
// seconds, the time in which a client tries again.
func DefaultTimes() Times {
	return Times{
		Announce: []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second},
		Repeat:   10 * time.Second,
		Again:    2 * time.Second,
		Leftover: 5 * time.Second,
		Claim:    30 * time.Second,
		Defend:   time.Second,
	}
}

// Controller puts the floating address on this node and takes it off, as
// AddressSpec says, and reports AddressStatus.
type Controller struct {
	Network Network
	Events  Events
	Times   Times
}

// Name implements controller.Controller.
func (*Controller) Name() string { return "address.Controller" }

// Inputs implements controller.Controller.
func (*Controller) Inputs() []controller.Input {
	return []controller.Input{resources.Input(AddressSpecType, AddressSpecID)}
}

// Outputs implements controller.Controller.
func (*Controller) Outputs() []controller.Output {
	return []controller.Output{{Type: AddressStatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	h := newHolding(c, logger)
	defer h.leave()

	// The runtime's own ends with the runtime only.
	watching, cancel := context.WithCancel(ctx)
	defer cancel()

	changed := c.Network.Watch(watching)

	started := time.Now()

	timer := time.NewTimer(c.Times.Leftover)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case claim := <-h.claims:
			h.hear(claim)
		case <-changed:
		case <-timer.C:
		}

		spec, known, err := readSpec(ctx, r)
		if err != nil {
			return err
		}

		wait := c.Times.Leftover - time.Since(started)

		switch {
		case known && spec.Hold:
			h.hold(spec)
			wait = h.next()
		case known || wait <= 0:
			h.release(spec)

			if spec.Candidate {
				h.standBy(spec)
			}

			wait = h.next()
		}

		if err := c.report(ctx, r, h); err != nil {
			return err
		}

		timer.Reset(wait)
		r.ResetRestartBackoff()
	}
}

// readSpec returns false while nothing has been decided yet.
func readSpec(ctx context.Context, r controller.Reader) (AddressSpecSpec, bool, error) {
	spec, err := resources.Spec[*AddressSpec](ctx, r, AddressSpecID)
	if err != nil || spec == nil {
		return AddressSpecSpec{}, false, err
	}

	return *spec, true, nil
}

// report writes AddressStatus.
func (c *Controller) report(ctx context.Context, r controller.Writer, h *holding) error {
	err := safe.WriterModify(ctx, r, NewAddressStatus(), func(status *AddressStatus) error {
		*status.TypedSpec() = h.status()

		return nil
	})
	if err != nil {
		return fmt.Errorf("report the floating address: %w", err)
	}

	return nil
}

// parse reads the configured addresses. Their prefix lengths are of no use:
// see the package's description.
func parse(addresses []string) ([]netip.Addr, error) {
	var (
		out  []netip.Addr
		errs []error
	)

	for _, text := range addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("floating address %q: %w", text, err))

			continue
		}

		if addr := prefix.Addr().Unmap(); !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}

	return out, errors.Join(errs...)
}
