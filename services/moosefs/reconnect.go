package moosefs

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
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

// Hastener makes connections quicker.
type Hastener interface {
	// Hasten has this host try the ports of remote from first to last again and again,
	// without the pause of a second that TCP makes, until the closer is closed.
	Hasten(remote netip.Addr, first, last uint16) (io.Closer, error)
}

// Neighbours tells which machine of the local network has an address.
type Neighbours interface {
	// Watch sends the link-layer address of ip each time the kernel tells of it, until
	// ctx ends.
	Watch(ctx context.Context, ip netip.Addr) (<-chan string, error)
	// Forget has the kernel find out anew who has ip.
	Forget(ip netip.Addr) error
}

// storagePorts are those of the master that chunkservers and metaloggers are connected
// to, clientPorts those of mounts.
var (
	storagePorts = []uint16{config.MasterMetaloggerPort, config.MasterChunkserverPort}
	clientPorts  = []uint16{config.MasterClientPort}
)

// here stands for this machine among the link-layer addresses.
const here = "here"

// freshly is how old a connection may be that was made to the new master
// already when this node learns where the address is. An old master has been
// silent for longer by then: its successor had to be granted the epoch, to mount
// and to start.
const freshly = 150 * time.Millisecond

// admission is how long clients may be kept out by a new master, for want of
// chunkservers (ChunkserverWait of the table of times, and some more).
const admission = 12 * time.Second

// askEvery is how long a master that keeps clients out is given for its answer before it is
// asked once more: about one round of its door's repetitions, tens of round trips.
const askEvery = 300 * time.Millisecond

// settling is for how long after the first epoch that antlerd hears of it takes
// epochs for those in which everybody is connected already: the record of the
// past arrives in that time, and ending good connections would make every restart
// of antlerd a small outage. It is also how long the signs of one move take to
// arrive.
const settling = 5 * time.Second

// Reconnector ends this node's connections to a master that is gone, as soon as
// another lets requests in at the floating address. Their owners connect again at once;
// by themselves they would find out when TCP's next retransmission meets the
// new machine, and the pauses between those double.
//
// There are three signs, and the first that comes is enough. The network says
// that the address has another machine now: that comes with the announcement
// itself, in milliseconds. Or the address has come to this very node. Or, when
// both were missed, a node reports that its master answers in a new epoch;
// what has been silent since that epoch began then has no other end any more.
// A connection that is being made is left alone: its next SYN, which the kernel is
// made to send without a pause (Hasten), finds the new machine.
//
// A client whose connection is ended before the new master lets it in (address.Door)
// tries its requests after pauses that grow by 0.3 s. So the new master is asked for
// something first, which is answered to this node's clients as soon as it is to us.
//
// Chunkservers and metaloggers are told before that, when a new epoch is granted, of
// which the old master knows nothing any more: they try once a second, all of them as
// the second begins (masterconn_reconnect), so that most are under way when the new
// one listens. A client that is told too early would sleep for two.
//
// The signs of one move arrive within moments of each other, and those after the
// first find connections to the new master. Ending one of these would lose the
// answer to a request that was carried out, and its client, asking again, would
// be told that the file exists. What was acknowledged since the first sign is
// therefore left alone.
type Reconnector struct {
	Sockets    Sockets
	Hastener   Hastener
	Neighbours Neighbours
	// Ask returns nil once the master answers a request.
	Ask    func(ctx context.Context, master netip.AddrPort) error
	Events Events

	// heard is when this run of the controller heard of an epoch for the first time.
	heard time.Time
	// began is when this node first saw the current epoch, which is fresh until
	// chunkservers and metalogger are told of it, or of a sign.
	epoch       uint64
	began       time.Time
	fresh, told bool
	// answered: the epoch has had its sign of a new master. signed: there was another
	// since, of an epoch that this node has not heard of.
	answered, signed bool
	// machine had the floating address last, as far as is known.
	machine string
	// admitted tells that clients are let in, whose asking the waiting is; stop ends that.
	admitted chan move
	stop     context.CancelFunc
	// looked is when connections to an old master were last ended.
	looked time.Time
	// held is the epoch for which the second sign was acted upon.
	held uint64
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
	// The runtime's context goes on when this run ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var machines <-chan string

	c.admitted = make(chan move)

	for {
		machine := ""

		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case machine = <-machines:
			if machine == "" {
				return fmt.Errorf("watch the neighbours: the kernel's messages ended")
			}
		case to := <-c.admitted:
			c.reconnect(to.floating, clientPorts, to.since, to.sign, logger)

			continue
		}

		cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		floating, err := FloatingIPv4(cfg.TypedSpec().Cluster)
		if err != nil {
			return err
		}

		if machines == nil {
			machines, err = c.Neighbours.Watch(ctx, floating)
			if err != nil {
				return err
			}

			defer c.hasten(floating, logger)()
		}

		err = c.pass(ctx, r, floating, machine, logger)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

// hasten returns what ends it.
func (c *Reconnector) hasten(floating netip.Addr, logger *zap.Logger) func() {
	hastened, err := c.Hastener.Hasten(floating, config.MasterMetaloggerPort, config.MasterClientPort)
	if err != nil {
		logger.Warn("the new master will be found up to a second later", zap.Error(err))

		return func() {}
	}

	return func() { _ = hastened.Close() }
}

// pass looks at what has changed; machine is the one that the kernel has just told to have
// the floating address, if it has.
func (c *Reconnector) pass(ctx context.Context, r controller.Reader, floating netip.Addr, machine string, logger *zap.Logger) error {
	local, err := resources.Spec[*address.AddressStatus](ctx, r, address.AddressStatusID)
	if err != nil {
		return err
	}

	moved := c.moved(floating, machine, local != nil && slices.Contains(local.Held, floating.String()), logger)

	since, sign, err := c.sign(ctx, r, local, moved)
	if err != nil {
		return err
	}

	switch {
	case sign == "" && c.fresh:
		c.reconnect(floating, storagePorts, time.Now().Add(-freshly), "another epoch begins", logger)
	case sign != "" && !c.told:
		c.reconnect(floating, storagePorts, since, sign, logger)
	}

	// From now on they may be connected to the new master, and have nothing to say to it.
	c.told, c.fresh = c.told || c.fresh || sign != "", false

	if sign != "" {
		c.awaitAdmission(ctx, move{floating, since, sign})
	}

	return nil
}

// move of the floating address to a new master: connections that were silent since then
// are to the old one, as the sign says.
type move struct {
	floating netip.Addr
	since    time.Time
	sign     string
}

// awaitAdmission tells when the new master lets clients in, or should have.
func (c *Reconnector) awaitAdmission(ctx context.Context, to move) {
	if c.stop != nil {
		c.stop()
	}

	waiting, stop := context.WithCancel(ctx)
	c.stop = stop

	go func() {
		c.ask(waiting, to.floating)

		select {
		case c.admitted <- to:
		case <-waiting.Done():
		}
	}()
}

// ask returns when the master answers, or should have. A request that is dropped at its door
// (address.Door) comes again after ever longer pauses, so others follow, each over a new
// connection, and the first answer counts.
func (c *Reconnector) ask(ctx context.Context, floating netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, admission)
	defer cancel()

	ended := make(chan error)

	for {
		go func() {
			err := c.Ask(ctx, netip.AddrPortFrom(floating, config.MasterClientPort))

			select {
			case ended <- err:
			case <-ctx.Done():
			}
		}()

		select {
		case err := <-ended:
			if err == nil {
				return
			}
		case <-time.After(askEvery):
			continue
		case <-ctx.Done():
			return
		}

		select {
		case <-time.After(synEvery):
		case <-ctx.Done():
			return
		}
	}
}

func (c *Reconnector) reconnect(floating netip.Addr, ports []uint16, since time.Time, sign string, logger *zap.Logger) {
	count, err := c.Sockets.Destroy(floating, ports, since)
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
