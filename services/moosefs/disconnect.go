package moosefs

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/replication"
	"antler/services/resources"
)

// Machines asks whether machines are there at all.
type Machines interface {
	// Gone reports that the kernel of the machine at the address says nothing at all, not
	// even that nobody listens. It takes a little more than a second to find that out.
	Gone(ctx context.Context, ip netip.Addr) bool
}

// chunkserverPorts are those at which chunkservers meet others: the master's for
// them, and their own.
var chunkserverPorts = []uint16{config.MasterChunkserverPort, config.ChunkserverPort}

// Disconnector ends this node's connections with the chunkserver of a machine that is
// gone, be it this node's master, chunkserver or mount that has them. By themselves
// they find out late: the master after 10 s, and until then it waits for that
// chunkserver with each change of a chunk that has a copy there; a client after 5 s
// (MATOCS_TIMEOUT, which can't be less, and CHUNKSERVER_ACTIVITY_TIMEOUT).
//
// Two things make a node suspect: the quorum doesn't hear from it, or its replica has no
// connection to this node's. Neither means that its chunkserver is gone, since antlerd
// may be restarting and DRBD may stand alone. So the machine is asked, by this node, since it
// is the link from here that counts. A connection over which anything was
// heard meanwhile is left alone; one that is ended in error is made again within
// a second.
type Disconnector struct {
	Sockets  Sockets
	Machines Machines
	Events   Events

	suspects map[string]*suspect
}

// suspect is a node that may be gone.
type suspect struct {
	suspicion

	// since is when it became suspect for these reasons, asked when it was last asked.
	since, asked time.Time
}

// suspicion is what speaks against a node.
type suspicion struct {
	address netip.Addr
	// unheard by the quorum, unlinked with this node's replica.
	unheard, unlinked bool
}

// more reports whether something speaks against the node that didn't before.
func (s suspicion) more(before suspicion) bool {
	return s.unheard && !before.unheard || s.unlinked && !before.unlinked || s.address != before.address
}

// The first times a suspect is asked each second, then after half as long again as it
// has been suspect: a replica may stand alone for days, and a machine be off.
const (
	askAgain    = time.Second
	askAgainMax = 30 * time.Second
)

// due is when it is to be asked again.
func (s *suspect) due() time.Time {
	if s.asked.IsZero() {
		return s.since
	}

	return s.asked.Add(min(max(askAgain, s.asked.Sub(s.since)/2), askAgainMax))
}

// Name implements controller.Controller.
func (*Disconnector) Name() string { return "moosefs.Disconnector" }

// Inputs implements controller.Controller.
func (*Disconnector) Inputs() []controller.Input {
	return []controller.Input{
		nodeConfigInput(),
		resources.Input(replication.ReplicaSpecType, replication.ReplicaSpecID),
		resources.Input(replication.ReplicaStatusType, replication.ReplicaStatusID),
		{Namespace: resources.Namespace, Type: authority.NodeReportType, Kind: controller.InputWeak},
	}
}

// Outputs implements controller.Controller.
func (*Disconnector) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *Disconnector) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-timer.C:
		}

		found, err := c.suspected(ctx, r)
		if err != nil {
			return err
		}

		c.note(found, time.Now())
		c.ask(ctx, logger)

		if next, some := c.next(); some {
			timer.Reset(time.Until(next))
		}

		r.ResetRestartBackoff()
	}
}

// suspected is what speaks against other nodes, by their names.
func (c *Disconnector) suspected(ctx context.Context, r controller.Reader) (map[string]suspicion, error) {
	cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}

	reports, err := safe.ReaderListAll[*authority.NodeReport](ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list the nodes' reports: %w", err)
	}

	peer, err := c.lostPeer(ctx, r)
	if err != nil {
		return nil, err
	}

	found := map[string]suspicion{}

	for report := range reports.All() {
		name := report.Metadata().ID()
		member, known := cfg.TypedSpec().Cluster.Member(name)
		against := suspicion{address: member.Address, unheard: !report.TypedSpec().Alive, unlinked: name == peer}

		// MooseFS speaks IPv4 only.
		if known && name != cfg.TypedSpec().Node.Name && member.Address.Is4() && (against.unheard || against.unlinked) {
			found[name] = against
		}
	}

	return found, nil
}

// lostPeer is the node with the other replica, if the two have no connection.
func (*Disconnector) lostPeer(ctx context.Context, r controller.Reader) (string, error) {
	spec, err := resources.Spec[*replication.ReplicaSpec](ctx, r, replication.ReplicaSpecID)
	if err != nil || spec == nil {
		return "", err
	}

	status, err := resources.Spec[*replication.ReplicaStatus](ctx, r, replication.ReplicaStatusID)
	if err != nil || status == nil || status.Phase != replication.PhaseUp || status.Connection == replication.Connected {
		return "", err
	}

	return spec.Peer, nil
}

// note who is suspect now. Another reason is a new suspicion.
func (c *Disconnector) note(found map[string]suspicion, now time.Time) {
	before := c.suspects
	c.suspects = map[string]*suspect{}

	for name, against := range found {
		s := before[name]
		if s == nil || against.more(s.suspicion) {
			s = &suspect{since: now}
		}

		s.suspicion = against
		c.suspects[name] = s
	}
}

// ask those that are due, all at once, and end the connections of those that don't answer.
func (c *Disconnector) ask(ctx context.Context, logger *zap.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()

	for name, s := range c.suspects {
		now := time.Now()
		if now.Before(s.due()) {
			continue
		}

		s.asked = now

		wg.Go(func() {
			if c.Machines.Gone(ctx, s.address) {
				c.disconnect(name, s, logger)
			}
		})
	}
}

func (c *Disconnector) disconnect(name string, s *suspect, logger *zap.Logger) {
	count, err := c.Sockets.Part(s.address, chunkserverPorts, s.asked)
	if err != nil {
		// Their owners give them up by themselves, later.
		logger.Warn("end connections with a chunkserver that is gone", zap.String("node", name), zap.Error(err))
	}

	if count > 0 {
		c.Events.Emit("chunkservers.disconnected", 0,
			fmt.Sprintf("%s does not answer: ended %d connections with it, of chunkservers", name, count))
	}
}

// next is when somebody is to be asked, if anybody is.
func (c *Disconnector) next() (next time.Time, some bool) {
	for _, s := range c.suspects {
		if due := s.due(); !some || due.Before(next) {
			next, some = due, true
		}
	}

	return next, some
}
