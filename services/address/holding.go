package address

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// holding is what the controller knows of the addresses it has put on this
// node. It is used from the controller's own goroutine only; claims cross over
// through a channel.
type holding struct {
	network Network
	events  Events
	times   Times
	logger  *zap.Logger
	claims  chan claim

	epoch  uint64
	held   map[netip.Addr]*assignment
	errors []error
	// homeless says why this node could not hold what it may come to hold.
	homeless []error
	// swept says that leftovers were removed since this node last held.
	swept bool
}

// assignment is one address on this node.
type assignment struct {
	link    string
	segment Segment
	// added is when, announced how often its place in the schedule was told.
	added     time.Time
	announced int
	last      time.Time
	// rival is who else claimed the address, and when that was last heard.
	rival   net.HardwareAddr
	heard   time.Time
	problem error
}

// claim is a frame of somebody else who says that addr is theirs.
type claim struct {
	addr netip.Addr
	from net.HardwareAddr
}

func newHolding(c *Controller, logger *zap.Logger) *holding {
	return &holding{
		network: c.Network,
		events:  c.Events,
		times:   c.Times,
		logger:  logger,
		// One is enough: a claim that finds it full comes again.
		claims: make(chan claim, 1),
		held:   map[netip.Addr]*assignment{},
	}
}

// hold adds what is missing and announces what is due.
func (h *holding) hold(spec AddressSpecSpec) {
	h.errors, h.homeless, h.swept = nil, nil, false

	if h.epoch != spec.Epoch {
		h.epoch = spec.Epoch
		// The address stayed, but who serves may have come back after another
		// did: the neighbours are told again.
		for _, a := range h.held {
			a.added, a.announced = time.Now(), 0
		}
	}

	addrs, err := parse(spec.Addresses)
	if err != nil {
		h.errors = append(h.errors, err)
	}

	h.drop(func(addr netip.Addr) bool { return !slices.Contains(addrs, addr) })

	for _, addr := range addrs {
		if err := h.ensure(addr); err != nil {
			h.errors = append(h.errors, err)
		}
	}
}

// ensure puts one address where it belongs and announces it when that is due.
func (h *holding) ensure(addr netip.Addr) error {
	link, err := h.network.Add(addr)
	if err != nil {
		return err
	}

	a := h.held[addr]
	if a == nil || a.link != link {
		a = h.added(addr, link)
	}

	// Where listening fails the address still serves those who ask for it, so
	// this is tried again and again rather than given up.
	if a.segment == nil {
		a.segment, err = h.network.Join(link, addr, h.listen(addr))
		if err != nil {
			return fmt.Errorf("announce floating address %s on %s: %w", addr, link, err)
		}
	}

	if time.Since(a.added) >= h.due(a) {
		h.announce(addr, a)
	}

	return a.problem
}

// added records a new assignment.
func (h *holding) added(addr netip.Addr, link string) *assignment {
	h.forget(addr)

	a := &assignment{link: link, added: time.Now()}
	h.held[addr] = a
	h.events.Emit("address.added", h.epoch, fmt.Sprintf("floating address %s is on %s", addr, link))
	h.logger.Info("floating address added", zap.Stringer("address", addr), zap.String("link", link), zap.Uint64("epoch", h.epoch))

	return a
}

// announce tells the neighbours once.
func (h *holding) announce(addr netip.Addr, a *assignment) {
	a.last = time.Now()

	if err := a.segment.Announce(); err != nil {
		a.problem = fmt.Errorf("announce floating address %s on %s: %w", addr, a.link, err)

		return
	}

	a.problem = nil
	a.announced++

	if a.announced == 1 {
		h.events.Emit("address.announced", h.epoch, fmt.Sprintf("floating address %s is announced on %s", addr, a.link))
	}
}

// due is when the next announcement is, counted from when the address was added.
func (h *holding) due(a *assignment) time.Duration {
	if a.announced < len(h.times.Announce) {
		return h.times.Announce[a.announced]
	}

	return a.last.Sub(a.added) + h.times.Repeat
}

// listen returns what the segment calls when somebody else claims addr.
func (h *holding) listen(addr netip.Addr) func(net.HardwareAddr) {
	return func(from net.HardwareAddr) {
		select {
		case h.claims <- claim{addr, slices.Clone(from)}:
		default:
		}
	}
}

// hear notes another's claim and answers it.
func (h *holding) hear(c claim) {
	a := h.held[c.addr]
	if a == nil || a.segment == nil {
		return
	}

	if a.rival.String() != c.from.String() {
		message := fmt.Sprintf("%s also claims floating address %s: look for a machine that has it configured", c.from, c.addr)
		h.events.Emit("address.conflict", h.epoch, message)
		h.logger.Warn(message)
	}

	a.rival, a.heard = c.from, time.Now()

	if time.Since(a.last) >= h.times.Defend {
		h.announce(c.addr, a)
	}
}

// standBy finds out whether this node could hold the addresses, before it has to.
func (h *holding) standBy(spec AddressSpecSpec) {
	h.homeless = nil

	// What is wrong with those that can't be read, release says.
	addrs, _ := parse(spec.Addresses)

	for _, addr := range addrs {
		if _, err := h.network.Home(addr); err != nil {
			h.homeless = append(h.homeless, err)
		}
	}
}

// release takes all addresses off this node: those it holds, those of the spec,
// and once also those of a former antlerd.
func (h *holding) release(spec AddressSpecSpec) {
	if h.swept {
		return
	}

	h.errors = nil

	addrs, err := parse(spec.Addresses)
	if err != nil {
		h.errors = append(h.errors, err)
	}

	leftovers, err := h.network.Leftovers()
	if err != nil {
		h.errors = append(h.errors, err)
	}

	h.drop(func(netip.Addr) bool { return true })

	for _, addr := range append(addrs, leftovers...) {
		if h.held[addr] != nil {
			continue // drop could not remove it and has said so
		}

		if err := h.network.Remove(addr); err != nil {
			h.errors = append(h.errors, err)
		}
	}

	h.swept = len(h.errors) == 0
}

// drop takes off the addresses that it holds and that chosen picks.
func (h *holding) drop(chosen func(netip.Addr) bool) {
	for _, addr := range h.addresses() {
		if !chosen(addr) {
			continue
		}

		link := h.held[addr].link
		if err := h.network.Remove(addr); err != nil {
			h.errors = append(h.errors, err)

			continue
		}

		h.forget(addr)
		h.events.Emit("address.removed", h.epoch, fmt.Sprintf("floating address %s is off %s", addr, link))
		h.logger.Info("floating address removed", zap.Stringer("address", addr), zap.String("link", link))
	}
}

// forget ends listening for one address, which stays as it is.
func (h *holding) forget(addr netip.Addr) {
	if a := h.held[addr]; a != nil && a.segment != nil {
		_ = a.segment.Close()
	}

	delete(h.held, addr)
}

// leave ends listening for all addresses, which stay as they are.
func (h *holding) leave() {
	for _, addr := range h.addresses() {
		h.forget(addr)
	}
}

// next is the time until something is due.
func (h *holding) next() time.Duration {
	wait := h.times.Repeat
	if len(h.errors) > 0 {
		wait = h.times.Again
	}

	for _, a := range h.held {
		// What failed has its own time.
		if a.segment != nil && a.problem == nil {
			wait = min(wait, h.due(a)-time.Since(a.added))
		}
	}

	return max(wait, 0)
}

// addresses returns what is held, in order.
func (h *holding) addresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(h.held), netip.Addr.Compare)
}

// status returns what is the case now.
func (h *holding) status() AddressStatusSpec {
	status := AddressStatusSpec{Epoch: h.epoch, Announced: len(h.held) > 0}
	problems := slices.Concat(h.errors, h.homeless)

	var links []string

	for _, addr := range h.addresses() {
		a := h.held[addr]
		status.Held = append(status.Held, addr.String())
		status.Announced = status.Announced && a.announced > 0

		if !slices.Contains(links, a.link) {
			links = append(links, a.link)
		}

		if a.rival != nil && time.Since(a.heard) < h.times.Claim {
			problems = append(problems, fmt.Errorf("%s also claims floating address %s: look for a machine that has it configured", a.rival, addr))
		}
	}

	status.Interface = strings.Join(links, ",")

	if err := errors.Join(problems...); err != nil {
		status.Error = err.Error()
	}

	return status
}
