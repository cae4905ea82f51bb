package metadata

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/replication"
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

		who, err := safe.ReaderGetByID[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
		if state.IsNotFoundError(err) {
			continue
		}

		if err != nil {
			return fmt.Errorf("read authority: %w", err)
		}

		replica, err := safe.ReaderGetByID[*replication.ReplicaStatus](ctx, r, replication.ReplicaStatusID)
		if state.IsNotFoundError(err) {
			continue
		}

		if err != nil {
			return fmt.Errorf("read replica: %w", err)
		}

		// Nothing is known yet: what runs may have a lease.
		if who.TypedSpec().Starting {
			continue
		}

		wanted := wantedMaster(who.TypedSpec(), replica.TypedSpec())

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

// wantedMaster is the whole decision. A switchover stops the master cleanly;
// everything else that takes the right to serve away kills it.
func wantedMaster(who *authority.AuthorityStatusSpec, replica *replication.ReplicaStatusSpec) MasterSpecSpec {
	spec := MasterSpecSpec{
		Epoch:          who.Epoch,
		Device:         replica.Device,
		MinMetaVersion: who.MetaVersion,
		MetadataID:     who.MetadataID,
		Stop:           StopKill,
	}

	switch {
	case !who.IsHolder || !who.LeaseValid || !replica.ReadyFor(who.Epoch):
	case who.Target != "" && who.Target != who.Self:
		spec.Stop = StopClean
	default:
		spec.Run = true
		spec.Format = !who.Formatted
	}

	return spec
}
