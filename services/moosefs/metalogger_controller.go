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

// MetaloggerController runs mfsmetalogger on nodes with that role. It ends when
// it can't reach a master at its start, and is started again until it does.
type MetaloggerController struct {
	// DataPath is the metalogger's own directory on the host.
	DataPath string
}

// Name implements controller.Controller.
func (*MetaloggerController) Name() string { return "moosefs.MetaloggerController" }

// Inputs implements controller.Controller.
func (*MetaloggerController) Inputs() []controller.Input {
	return []controller.Input{nodeConfigInput()}
}

// Outputs implements controller.Controller.
func (*MetaloggerController) Outputs() []controller.Output {
	return []controller.Output{{Type: containers.ContainerSpecType, Kind: controller.OutputShared}}
}

// Run implements controller.Controller.
func (c *MetaloggerController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
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

		if !cfg.TypedSpec().Self().Has(config.RoleMetalogger) {
			continue
		}

		spec, err := metaloggerSpec(cfg.TypedSpec().Config)
		if err != nil {
			return err
		}

		err = ownedDirectory(c.DataPath)
		if err != nil {
			return err
		}

		err = writeContainer(ctx, r, MetaloggerContainer, spec)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}
