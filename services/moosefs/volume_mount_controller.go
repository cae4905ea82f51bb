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
	"antler/services/resources"
)

// VolumeMountController has a container for each VolumeMountSpec. Like the
// node-wide mount, one that runs is never restarted for a changed setting.
type VolumeMountController struct {
	// Dir holds the mount points; config.VolumeMountDir.
	Dir string
}

// Name implements controller.Controller.
func (*VolumeMountController) Name() string { return "moosefs.VolumeMountController" }

// Inputs implements controller.Controller.
func (*VolumeMountController) Inputs() []controller.Input {
	return []controller.Input{
		nodeConfigInput(),
		{Namespace: resources.Namespace, Type: VolumeMountSpecType, Kind: controller.InputWeak},
	}
}

// Outputs implements controller.Controller.
func (*VolumeMountController) Outputs() []controller.Output {
	return []controller.Output{{Type: containers.ContainerSpecType, Kind: controller.OutputShared}}
}

// Run implements controller.Controller.
func (c *VolumeMountController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
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

		r.StartTrackingOutputs()

		err = c.write(ctx, r, cfg.TypedSpec().Config)
		if err != nil {
			return err
		}

		err = safe.CleanupOutputs[*containers.ContainerSpec](ctx, r)
		if err != nil {
			return fmt.Errorf("take back the mounts of volumes: %w", err)
		}

		r.ResetRestartBackoff()
	}
}

func (c *VolumeMountController) write(ctx context.Context, r controller.Runtime, cfg *config.Config) error {
	mounts, err := safe.ReaderListAll[*VolumeMountSpec](ctx, r)
	if err != nil {
		return fmt.Errorf("list the mounts of volumes: %w", err)
	}

	for mount := range mounts.All() {
		id := mount.Metadata().ID()

		spec, err := volumeMountSpec(cfg, volumeMountPath(c.Dir, id), *mount.TypedSpec())
		if err != nil {
			return err
		}

		err = writeContainer(ctx, r, VolumeMountContainer(id), spec)
		if err != nil {
			return err
		}
	}

	return nil
}
