package moosefs

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// Sockets ends TCP connections of this host, whoever owns them.
type Sockets interface {
	// Destroy ends the connections to remote, at any of the ports, over which
	// nothing was heard from since on. Their owners get an error at once.
	// It returns how many there were.
	Destroy(remote netip.Addr, ports []uint16, since time.Time) (int, error)
	// Part does the same to the connections with remote of which either end is at one of
	// the ports.
	Part(remote netip.Addr, ports []uint16, since time.Time) (int, error)
}

// Neighbours tells when an address of the local network moved to another
// machine.
type Neighbours interface {
	// Moves sends when the link-layer address of ip has changed from one that
	// was known, until ctx ends.
	Moves(ctx context.Context, ip netip.Addr) (<-chan struct{}, error)
}

// masterPorts are those of the master that mounts, chunkservers and metaloggers
// are connected to.
var masterPorts = []uint16{config.MasterMetaloggerPort, config.MasterChunkserverPort, config.MasterClientPort}

// freshly is how old a connection may be that was made to the new master
// already when this node learns where the address is. An old master has been
// silent for longer by then: its successor had to be granted the epoch, to mount
// and to start.
const freshly = 150 * time.Millisecond

// settling is for how long after the first epoch that antlerd hears of it takes
// epochs for those in which everybody is connected already: the record of the
// past arrives in that time, and ending good connections would make every restart
// of antlerd a small outage. It is also how long the signs of one move take to
// arrive.
const settling = 5 * time.Second

// Reconnector ends this node's connections to a master that is gone, as soon as
// another answers at the floating address. Their owners connect again at once;
// by themselves they would find out when TCP's next retransmission meets the
// new machine, and the pauses between those double.
//
// There are three signs, and the first that comes is enough. The network says
// that the address has another machine now: that comes with the announcement
// itself, in milliseconds. Or the address has come to this very node. Or, when
// both were missed, a node reports that its master answers in a new epoch;
// what has been silent since that epoch began then has no other end any more.
// A connection that is being made is left alone: its next SYN finds the new
// machine.
//
// The signs of one move arrive within moments of each other, and those after the
// first find connections to the new master. Ending one of these would lose the
// answer to a request that was carried out, and its client, asking again, would
// be told that the file exists. What was acknowledged since the first sign is
// therefore left alone.
type Reconnector struct {
	Sockets    Sockets
	Neighbours Neighbours
	Events     Events

	// heard is when this run of the controller heard of an epoch for the first time.
	heard time.Time
	// began is when this node first saw the current epoch.
	epoch uint64
	began time.Time
	// looked is when connections to an old master were last ended.
	looked time.Time
	// done is the epoch for which the third sign was acted upon, held that of
	// the second.
	done, held uint64
}

// Name implements controller.Controller.
func (*Reconnector) Name() string { return "moosefs.Reconnector" }

// Inputs implements controller.Controller.
func (*Reconnector) Inputs() []controller.Input {
	return []controller.Input{
		nodeConfigInput(),
		resources.Input(address.AddressStatusType, address.AddressStatusID),
		resources.Input(authority.AuthorityStatusType, authority.AuthorityStatusID),
		{Namespace: resources.Namespace, Type: authority.NodeReportType, Kind: controller.InputWeak},
	}
}

// Outputs implements controller.Controller.
func (*Reconnector) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *Reconnector) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	var moves <-chan struct{}

	for {
		moved := false

		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case _, moved = <-moves:
			if !moved {
				return fmt.Errorf("watch the neighbours: the kernel's messages ended")
			}
		}

		cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		floating, err := FloatingIPv4(cfg.TypedSpec().Cluster)
		if err != nil {
			return err
		}

		if moves == nil {
			moves, err = c.Neighbours.Moves(ctx, floating)
			if err != nil {
				return err
			}
		}

		since, sign, err := c.sign(ctx, r, moved)
		if err != nil {
			return err
		}

		if sign != "" {
			c.reconnect(floating, since, sign, logger)
		}

		r.ResetRestartBackoff()
	}
}

// sign says what speaks for a new master, if anything does, and since when a
// connection must have been silent to be one to the old.
func (c *Reconnector) sign(ctx context.Context, r controller.Reader, moved bool) (time.Time, string, error) {
	now := time.Now()

	err := c.noteEpoch(ctx, r, now)
	if err != nil {
		return now, "", err
	}

	since, text := now.Add(-freshly), "the address moved"

	if !moved {
		since, text, err = c.silentSign(ctx, r, since)
		if err != nil || text == "" {
			return now, "", err
		}
	}

	// A sign of the same move, and not of a later one.
	if c.looked.After(c.began) && now.Sub(c.looked) < settling {
		since = c.looked
	}

	c.looked = now

	return since, text, nil
}

// silentSign is one that this node has to find for itself.
func (c *Reconnector) silentSign(ctx context.Context, r controller.Reader, fresh time.Time) (time.Time, string, error) {
	local, err := resources.Spec[*address.AddressStatus](ctx, r, address.AddressStatusID)
	if err != nil {
		return fresh, "", err
	}

	if local != nil && c.epoch > 0 && local.Announced && local.Epoch > c.held {
		c.held = local.Epoch

		return fresh, "the address came to this node", nil
	}

	text, err := c.report(ctx, r)
	if c.began.Before(fresh) {
		fresh = c.began
	}

	return fresh, text, err
}

// noteEpoch keeps the current epoch. Those that are heard of while settling are
// of the past.
func (c *Reconnector) noteEpoch(ctx context.Context, r controller.Reader, now time.Time) error {
	record, err := resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if err != nil || record == nil || record.Epoch <= c.epoch {
		return err
	}

	if c.epoch == 0 {
		c.heard = now
	}

	c.epoch, c.began = record.Epoch, now

	if now.Sub(c.heard) < settling {
		c.done, c.held = c.epoch, c.epoch
	}

	return nil
}

// report is the third sign.
func (c *Reconnector) report(ctx context.Context, r controller.Reader) (string, error) {
	if c.epoch == 0 || c.done == c.epoch {
		return "", nil
	}

	reports, err := safe.ReaderListAll[*authority.NodeReport](ctx, r)
	if err != nil {
		return "", fmt.Errorf("list the nodes' reports: %w", err)
	}

	for report := range reports.All() {
		master := report.TypedSpec().Report.Master
		if !master.Answering || master.Epoch != c.epoch {
			continue
		}

		c.done = c.epoch

		return "node " + report.Metadata().ID() + " serves", nil
	}

	return "", nil
}

func (c *Reconnector) reconnect(floating netip.Addr, since time.Time, sign string, logger *zap.Logger) {
	count, err := c.Sockets.Destroy(floating, masterPorts, since)
	if err != nil {
		// They come back by themselves, later.
		logger.Warn("end connections to the old master", zap.Error(err))
	}

	logger.Info("looked for connections to an old master",
		zap.String("sign", sign), zap.Duration("silence", time.Since(since)), zap.Int("ended", count))

	if count > 0 {
		c.Events.Emit("clients.reconnect", c.epoch, fmt.Sprintf("%s: ended %d connections to the old master", sign, count))
	}
}
