package moosefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/containers"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// storeRetry is how often a store that is not ready is looked at again: a disk
// may come late, or be cleared by a person.
const storeRetry = 10 * time.Second

// ChunkserverController runs mfschunkserver on nodes with that role, with the
// chunk stores that are ready.
type ChunkserverController struct {
	Stores Stores
	Events Events
	// DataPath is the chunkserver's own directory on the host.
	DataPath string
}

// Name implements controller.Controller.
func (*ChunkserverController) Name() string { return "moosefs.ChunkserverController" }

// Inputs implements controller.Controller.
func (*ChunkserverController) Inputs() []controller.Input {
	return []controller.Input{nodeConfigInput()}
}

// Outputs implements controller.Controller.
func (*ChunkserverController) Outputs() []controller.Output {
	return []controller.Output{
		{Type: containers.ContainerSpecType, Kind: controller.OutputShared},
		{Type: ChunkStoreStatusType, Kind: controller.OutputExclusive},
	}
}

func nodeConfigInput() controller.Input {
	return resources.Input(node.ConfigType, node.ConfigID)
}

// Run implements controller.Controller.
func (c *ChunkserverController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	var retry <-chan time.Time

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-retry:
		}

		cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		if !cfg.TypedSpec().Self().Has(config.RoleChunkserver) {
			continue
		}

		complete, err := c.reconcile(ctx, r, cfg.TypedSpec().Config, logger)
		if err != nil {
			return err
		}

		retry = nil
		if !complete {
			retry = time.After(storeRetry)
		}

		r.ResetRestartBackoff()
	}
}

// reconcile reports whether every store is ready.
func (c *ChunkserverController) reconcile(ctx context.Context, r controller.Runtime, cfg *config.Config, logger *zap.Logger) (bool, error) {
	durable := cfg.Cluster.Storage.Durability != config.DurabilityLoseSecondsOnPowerCut

	var ready []Store

	for index, configured := range cfg.Node.Chunks {
		store, storeErr := c.Stores.Prepare(ctx, index, configured, durable)
		if storeErr != nil {
			logger.Warn("chunk store is not in use", zap.Error(storeErr))
		} else {
			ready = append(ready, store)
		}

		err := c.report(ctx, r, index, configured, store, durable, storeErr)
		if err != nil {
			return false, err
		}
	}

	if len(ready) == 0 {
		// A chunkserver that runs with what it was given goes on.
		return false, nil
	}

	spec, err := chunkserverSpec(cfg, ready)
	if err != nil {
		return false, err
	}

	err = errors.Join(os.MkdirAll(filepath.Dir(c.DataPath), 0o755), ownedDirectory(c.DataPath))
	if err != nil {
		return false, err
	}

	return len(ready) == len(cfg.Node.Chunks), writeContainer(ctx, r, ChunkserverContainer, spec)
}

func (c *ChunkserverController) report(
	ctx context.Context, r controller.Runtime, index int, configured config.ChunkStore, store Store, durable bool, storeErr error,
) error {
	wasReady := false
	place := configured.Device + configured.Path

	err := safe.WriterModify(ctx, r, NewChunkStoreStatus(strconv.Itoa(index)), func(status *ChunkStoreStatus) error {
		spec := status.TypedSpec()
		wasReady = spec.Ready || spec.Error != ""
		*spec = ChunkStoreStatusSpec{Configured: place, Ready: storeErr == nil, Path: store.Path, Durable: durable}

		if storeErr != nil {
			*spec = ChunkStoreStatusSpec{Configured: place, Error: storeErr.Error()}
		}

		return nil
	})
	if err != nil {
		return fmt.Errorf("report chunk store %s: %w", place, err)
	}

	if storeErr != nil && !wasReady {
		c.Events.Emit("chunkstore.refused", 0, storeErr.Error())
	}

	return nil
}

// writeContainer writes the spec of a container.
func writeContainer(ctx context.Context, r controller.Writer, name string, spec containers.ContainerSpecSpec) error {
	err := safe.WriterModify(ctx, r, containers.NewContainerSpec(name), func(res *containers.ContainerSpec) error {
		*res.TypedSpec() = spec

		return nil
	})
	if err != nil {
		return fmt.Errorf("write the spec of container %q: %w", name, err)
	}

	return nil
}
