package moosefs

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/containers"
	"antler/services/node"
	"antler/services/node/config"
)

// MountController mounts MooseFS: at ClientPath on nodes with the client role,
// and at AdminPath, with the right to set quotas and storage classes, on those
// that may serve. It is there before they do: making a container in the middle
// of a takeover would hold that up.
type MountController struct {
	// ClientPath and AdminPath on the host; config.MountPath and
	// config.AdminMountPath.
	ClientPath, AdminPath string
}

// Name implements controller.Controller.
func (*MountController) Name() string { return "moosefs.MountController" }

// Inputs implements controller.Controller.
func (*MountController) Inputs() []controller.Input {
	return []controller.Input{nodeConfigInput()}
}

// Outputs implements controller.Controller.
func (*MountController) Outputs() []controller.Output {
	return []controller.Output{{Type: containers.ContainerSpecType, Kind: controller.OutputShared}}
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
	if !cfg.Self().Has(config.RoleMetadata) {
		return nil
	}

	spec, err := mountSpec(cfg, c.AdminPath, cfg.Cluster.AdminPassword)
	if err != nil {
		return err
	}

	// Marks of volumes are extended attributes. This mount may have seen one
	// before another node served and changed it, and mfsmount would remember it
	// for 30 s.
	file := spec.Files[mountConfig]
	file.Content += "mfsxattrcacheto=0\n"
	// No data are written through it. mfsmount touches its cache once in every 64 KiB
	// when it starts: with huge pages all of it is memory, 256 MiB if nothing is said.
	file.Content += "mfswritecachesize=16\n"
	spec.Files[mountConfig] = file

	spec.RestartOnChange = true
	// Whoever works through it is antlerd, and asks again.
	spec.StopTimeout = 1

	return writeContainer(ctx, r, AdminMountContainer, spec)
}
