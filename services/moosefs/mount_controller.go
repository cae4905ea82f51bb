package moosefs

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/gen/optional"
	"go.uber.org/zap"

	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// MountController mounts MooseFS: at ClientPath on nodes with the client role,
// and at AdminPath, with the right to set quotas and storage classes, while
// this node serves.
type MountController struct {
	// ClientPath and AdminPath on the host; config.MountPath and
	// config.AdminMountPath.
	ClientPath, AdminPath string
}

// Name implements controller.Controller.
func (*MountController) Name() string { return "moosefs.MountController" }

// Inputs implements controller.Controller.
func (*MountController) Inputs() []controller.Input {
	return []controller.Input{nodeConfigInput(), masterStatusInput()}
}

// Outputs implements controller.Controller.
func (*MountController) Outputs() []controller.Output {
	return []controller.Output{{Type: containers.ContainerSpecType, Kind: controller.OutputShared}}
}

func masterStatusInput() controller.Input {
	return controller.Input{
		Namespace: resources.Namespace,
		Type:      metadata.MasterStatusType,
		ID:        optional.Some(metadata.MasterStatusID),
		Kind:      controller.InputWeak,
	}
}

// Run implements controller.Controller.
func (c *MountController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		err = c.client(ctx, r, cfg.TypedSpec().Config)
		if err != nil {
			return err
		}

		err = c.admin(ctx, r, cfg.TypedSpec().Config)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

// client keeps the node-wide mount. It is never restarted for a changed
// setting: programs have files open there.
func (c *MountController) client(ctx context.Context, r controller.Runtime, cfg *config.Config) error {
	if !cfg.Self().Has(config.RoleClient) {
		return nil
	}

	spec, err := mountSpec(cfg, c.ClientPath, cfg.Cluster.Password)
	if err != nil {
		return err
	}

	return writeContainer(ctx, r, ClientMountContainer, spec)
}

func (c *MountController) admin(ctx context.Context, r controller.Runtime, cfg *config.Config) error {
	keep, err := c.adminWanted(ctx, r)
	if err != nil {
		return err
	}

	if !keep {
		return removeContainer(ctx, r, AdminMountContainer)
	}

	spec, err := mountSpec(cfg, c.AdminPath, cfg.Cluster.AdminPassword)
	if err != nil {
		return err
	}

	spec.RestartOnChange = true
	// Whoever works through it is antlerd, and asks again.
	spec.StopTimeout = 1

	return writeContainer(ctx, r, AdminMountContainer, spec)
}

// adminWanted: from the master's first answer until it is given up. A restart
// in place does not take the mount away.
func (c *MountController) adminWanted(ctx context.Context, r controller.Runtime) (bool, error) {
	master, err := safe.ReaderGetByID[*metadata.MasterStatus](ctx, r, metadata.MasterStatusID)
	if state.IsNotFoundError(err) {
		return false, nil
	}

	if err != nil {
		return false, fmt.Errorf("read the master's status: %w", err)
	}

	switch status := master.TypedSpec(); status.Phase {
	case metadata.PhaseServing:
		if status.Answering {
			return true, nil
		}
	case metadata.PhaseRestarting:
	default:
		return false, nil
	}

	_, err = safe.ReaderGetByID[*containers.ContainerSpec](ctx, r, AdminMountContainer)
	if state.IsNotFoundError(err) {
		return false, nil
	}

	return err == nil, err
}

// removeContainer takes the spec of a container back, if there is one.
func removeContainer(ctx context.Context, r controller.Runtime, name string) error {
	err := r.Destroy(ctx, containers.NewContainerSpec(name).Metadata())
	if err != nil && !state.IsNotFoundError(err) {
		return fmt.Errorf("take the spec of container %q back: %w", name, err)
	}

	return nil
}
