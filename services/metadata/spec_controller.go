package metadata

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
	"antler/services/replication"
	"antler/services/resources"
)

// SpecController says whether mfsmaster should run on this node.
type SpecController struct{}

// Name implements controller.Controller.
func (*SpecController) Name() string { return "metadata.SpecController" }

// Inputs implements controller.Controller.
func (*SpecController) Inputs() []controller.Input {
	return []controller.Input{
		safe.Input[*authority.AuthorityStatus](controller.InputWeak),
		safe.Input[*replication.ReplicaStatus](controller.InputWeak),
		resources.Input(node.ConfigType, node.ConfigID),
	}
}

// Outputs implements controller.Controller.
func (*SpecController) Outputs() []controller.Output {
	return []controller.Output{{Type: MasterSpecType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (*SpecController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		who, err := resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
		if err != nil {
			return err
		}

		replica, err := resources.Spec[*replication.ReplicaStatus](ctx, r, replication.ReplicaStatusID)
		if err != nil {
			return err
		}

		cfg, err := resources.Spec[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return err
		}

		if who == nil || replica == nil || cfg == nil {
			continue
		}

		before, err := resources.Spec[*MasterSpec](ctx, r, MasterSpecID)
		if err != nil {
			return err
		}

		wanted, decided := wantedMaster(who, replica, before)
		if !decided {
			continue
		}

		wanted.Chunkservers = expectedChunkservers(who, cfg.Cluster.Storage.Copies)

		err = safe.WriterModify(ctx, r, NewMasterSpec(), func(spec *MasterSpec) error {
			*spec.TypedSpec() = wanted

			return nil
		})
		if err != nil {
			return fmt.Errorf("write master spec: %w", err)
		}

		r.ResetRestartBackoff()
	}
}

// expectedChunkservers is how many of the cluster's chunkservers there should be before
// anybody writes.
func expectedChunkservers(who *authority.AuthorityStatusSpec, copies int) int {
	alive := 0

	for _, m := range who.Members {
		if m.Alive && slices.Contains(m.Roles, string(config.RoleChunkserver)) {
			alive++
		}
	}

	return min(alive, copies)
}

// wantedMaster is the whole decision. A switchover stops the master cleanly;
// everything else that takes the right to serve away kills it. before is the last
// decision, nil after a start of antlerd. It reports false while too little is
// known to decide: what runs goes on.
func wantedMaster(who *authority.AuthorityStatusSpec, replica *replication.ReplicaStatusSpec, before *MasterSpecSpec) (MasterSpecSpec, bool) {
	spec := MasterSpecSpec{
		Epoch:          who.Epoch,
		Device:         replica.Device,
		MinMetaVersion: who.MetaVersion,
		MetadataID:     who.MetadataID,
		Stop:           StopKill,
	}

	switch {
	// What runs may have a lease from before.
	case who.Starting:
		return spec, false
	case !who.IsHolder || !who.LeaseValid:
		return spec, true
	case who.HandsOver():
		spec.Stop = StopClean

		return spec, true
	}

	spec.Format = !who.Formatted
	running := before != nil && before.Run && before.Epoch == who.Epoch

	switch {
	// The kernel hasn't told yet, or the replica's role not yet been put down to
	// this epoch: so it is for a moment after a start of antlerd, when a master
	// may serve from before.
	case replica.Phase == replication.PhaseUnknown,
		!running && replica.Usable() && !replica.ReadyFor(who.Epoch):
		return spec, false
	}

	spec.Run = replica.Usable() && (running || replica.ReadyFor(who.Epoch))

	return spec, true
}
