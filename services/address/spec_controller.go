package address

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// SpecController decides whether this node should hold the floating address.
type SpecController struct{}

// Name implements controller.Controller.
func (*SpecController) Name() string { return "address.SpecController" }

// Inputs implements controller.Controller.
func (*SpecController) Inputs() []controller.Input {
	return []controller.Input{
		resources.Input(authority.AuthorityStatusType, authority.AuthorityStatusID),
		resources.Input(metadata.MasterStatusType, metadata.MasterStatusID),
		resources.Input(node.ConfigType, node.ConfigID),
	}
}

// Outputs implements controller.Controller.
func (*SpecController) Outputs() []controller.Output {
	return []controller.Output{{Type: AddressSpecType, Kind: controller.OutputExclusive}}
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
	if err != nil || cfg == nil {
		return err
	}

	record, err := resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if err != nil || record == nil {
		return err
	}

	master, err := resources.Spec[*metadata.MasterStatus](ctx, r, metadata.MasterStatusID)
	if err != nil {
		return err
	}

	before, err := resources.Spec[*AddressSpec](ctx, r, AddressSpecID)
	if err != nil {
		return err
	}

	verdict := decide(*record, master, before)
	if verdict == undecided {
		return nil
	}

	err = safe.WriterModify(ctx, r, NewAddressSpec(), func(spec *AddressSpec) error {
		spec.TypedSpec().Hold = verdict == hold
		spec.TypedSpec().Epoch = record.Epoch
		spec.TypedSpec().Candidate = cfg.TypedSpec().Self().Has(config.RoleMetadata)
		spec.TypedSpec().Addresses = nil

		for _, prefix := range cfg.TypedSpec().Cluster.Floating {
			spec.TypedSpec().Addresses = append(spec.TypedSpec().Addresses, prefix.String())
		}

		return nil
	})
	if err != nil {
		return fmt.Errorf("write what to do with the floating address: %w", err)
	}

	return nil
}

// verdict on the floating address.
type verdict int

const (
	// undecided leaves what was decided before, and the address of an antlerd
	// that ran before where it is.
	undecided verdict = iota
	hold
	release
)

// decide is the whole decision. before is what was decided last, nil after a
// start of antlerd, when an address may be here from before.
func decide(record authority.AuthorityStatusSpec, master *metadata.MasterStatusSpec, before *AddressSpecSpec) verdict {
	if record.Starting {
		return undecided
	}

	if !record.IsHolder || !record.LeaseValid {
		return release
	}

	if master == nil {
		return orRelease(before)
	}

	held := before != nil && before.Hold && before.Epoch == record.Epoch
	current := master.Epoch == record.Epoch

	switch master.Phase {
	case metadata.PhaseServing:
		if current && (master.Answering || held) {
			return hold
		}
	case metadata.PhaseRestarting, metadata.PhaseSaving:
		if current && held {
			return hold
		}
	case metadata.PhaseStopped:
		// Of an earlier epoch, or nothing was found yet of what runs.
		if !current {
			return orRelease(before)
		}

		return release
	case metadata.PhaseStopping, metadata.PhaseUnmounting, metadata.PhaseFull, metadata.PhaseFailed, metadata.PhaseFormatting:
		return release
	case metadata.PhaseMounting, metadata.PhaseRecovering, metadata.PhaseStarting:
	}

	return orRelease(before)
}

// orRelease is for a holder whose master does not answer yet: it takes no
// address, and right after a start of antlerd it takes none away either.
func orRelease(before *AddressSpecSpec) verdict {
	if before == nil {
		return undecided
	}

	return release
}
