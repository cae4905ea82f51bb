package replication

import (
	"context"
	"fmt"
	"slices"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// SpecController decides what the replica of this node should be.
type SpecController struct{}

// Name implements controller.Controller.
func (*SpecController) Name() string { return "replication.SpecController" }

// Inputs implements controller.Controller.
func (*SpecController) Inputs() []controller.Input {
	return []controller.Input{
		resources.Input(authority.AuthorityStatusType, authority.AuthorityStatusID),
		resources.Input(node.ConfigType, node.ConfigID),
		resources.Input(ReplicaStatusType, ReplicaStatusID),
		resources.Input(DeviceUseType, DeviceUseID),
	}
}

// Outputs implements controller.Controller.
func (*SpecController) Outputs() []controller.Output {
	return []controller.Output{{Type: ReplicaSpecType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *SpecController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		if err := c.reconcile(ctx, r); err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

func (c *SpecController) reconcile(ctx context.Context, r controller.Runtime) error {
	cfg, err := resources.Read[*node.NodeConfig](ctx, r, node.ConfigID)
	if err != nil || cfg == nil || !cfg.TypedSpec().Self().Has(config.RoleMetadata) {
		return err
	}

	facts := facts{}

	facts.use, err = resources.Spec[*DeviceUse](ctx, r, DeviceUseID)
	if err != nil {
		return err
	}

	facts.record, err = resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if err != nil {
		return err
	}

	facts.replica, err = resources.Spec[*ReplicaStatus](ctx, r, ReplicaStatusID)
	if err != nil {
		return err
	}

	facts.before, err = resources.Spec[*ReplicaSpec](ctx, r, ReplicaSpecID)
	if err != nil {
		return err
	}

	wanted := decide(cfg.TypedSpec().Config, facts)

	err = safe.WriterModify(ctx, r, NewReplicaSpec(), func(res *ReplicaSpec) error {
		*res.TypedSpec() = wanted

		return nil
	})
	if err != nil {
		return fmt.Errorf("write what the replica should be: %w", err)
	}

	return nil
}

// facts are what the decision is made from; nil is what isn't known.
type facts struct {
	record  *authority.AuthorityStatusSpec
	replica *ReplicaStatusSpec
	before  *ReplicaSpecSpec
	use     *DeviceUseSpec
}

// decide is the whole decision.
func decide(cfg *config.Config, f facts) ReplicaSpecSpec {
	out := ReplicaSpecSpec{
		Device:      cfg.Node.Replica.Device,
		SelfAddress: cfg.Self().Address.String(),
	}

	if peer, ok := cfg.Peer(); ok {
		out.Peer, out.PeerAddress = peer.Name, peer.Address.String()
	}

	// antlerd has just started: what is there may be serving.
	if f.record == nil {
		return out
	}

	out.ConsentID, out.Formatted = f.record.ConsentID, f.record.Formatted

	// Both are a person's word, and good for this epoch.
	out.Discard = f.record.Discard == f.record.Self && !f.record.IsHolder && f.record.Discard != ""
	out.PeerDiscards = f.record.Discard == out.Peer && f.record.Discard != ""

	if f.record.Starting || f.use == nil {
		if f.before != nil {
			out.Role, out.Epoch = f.before.Role, f.before.Epoch
		}

		return out
	}

	// The lease may come back, for the same epoch, while the way out of the primary
	// role is under way: what has been begun is ended first. And one without its disk
	// gives the epoch up: see the duty's failed.
	mine := f.record.IsHolder && f.record.LeaseValid && !f.brokenOff() && !f.diskLost()
	switch {
	case mine && !f.record.HandsOver():
		out.Role, out.Epoch, out.First = RolePrimary, f.record.Epoch, !f.record.Formatted
		out.Restored = out.First && f.record.MetaVersion > 0
		out.PeerYields = f.yields(out.Peer)
		out.PeerTrusted = slices.Contains(f.record.UpToDate, out.Peer)
	case f.unknown():
		// What there is, is left as it is.
		out.Epoch = f.record.Epoch
	case f.use.Mounted && f.primary():
		// It can't be secondary before it is unmounted.
		out.Role, out.Epoch = RolePrimary, f.lastEpoch()
	default:
		out.Role, out.Epoch = RoleSecondary, f.record.Epoch
	}

	// The lease is lost and the process that could tell a client so is dead: what
	// is frozen may end with an error.
	out.Force = !mine && f.primary() && f.replica.Suspended != "" && !f.use.Alive

	return out
}

// yields reports whether the peer served last and gave up in order.
func (f facts) yields(peer string) bool {
	release, gave := f.record.GiveUps[peer]

	return gave && !release.Failed && release.Epoch+1 == f.record.Epoch
}

func (f facts) brokenOff() bool { return f.replica != nil && f.replica.BrokenOff }

func (f facts) diskLost() bool { return f.replica != nil && f.replica.IOErrors > 0 }

func (f facts) primary() bool { return f.replica != nil && f.replica.Role == RolePrimary }

// unknown: the kernel has not told the role yet.
func (f facts) unknown() bool { return f.replica == nil || f.replica.Role == "" }

// lastEpoch is the epoch in which this node was primary.
func (f facts) lastEpoch() uint64 {
	if f.before != nil && f.before.Epoch != 0 {
		return f.before.Epoch
	}

	return f.record.Epoch
}
