package volume

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"go.uber.org/zap"

	"antler/services/metadata"
	"antler/services/resources"
)

// Housekeeping is the part of Store that nobody asks for by name.
type Housekeeping interface {
	Prepare(ctx context.Context) error
	Purge(ctx context.Context) (Purged, error)
}

// Events is the cluster's log of what happened.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// PurgeInterval is the time between two passes of Purge. A deleted volume goes
// expiryPasses of them, an hour, after its time is over.
const PurgeInterval = 10 * time.Minute

// purgeRetry is the time after which something that failed, or wasn't finished
// in one pass, is tried again. It also keeps a large removal from taking all of
// the master's time.
const purgeRetry = 2 * time.Second

// PurgeController prepares a MooseFS for volumes and removes volumes whose time
// in the archive is over. It works where the master serves, and nowhere else.
type PurgeController struct {
	Store  Housekeeping
	Events Events
}

// Name implements controller.Controller.
func (*PurgeController) Name() string { return "volume.PurgeController" }

// Inputs implements controller.Controller.
func (*PurgeController) Inputs() []controller.Input {
	return []controller.Input{resources.Input(metadata.MasterStatusType, metadata.MasterStatusID)}
}

// Outputs implements controller.Controller.
func (*PurgeController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *PurgeController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	// The next pass is due at once where the master begins to serve, and not
	// with every change of its status.
	timer := time.NewTimer(0)
	defer timer.Stop()

	serving, due := false, false

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			due = true
		case <-r.EventCh():
		}

		master, err := metadata.Serving(ctx, r)
		if err != nil {
			return err
		}

		now := master != nil && master.Answering
		due = due || now && !serving
		serving = now

		if !serving || !due {
			continue
		}

		due = false

		timer.Reset(c.pass(ctx, master.Epoch, logger))
		r.ResetRestartBackoff()
	}
}

// pass does what is due and returns the time until the next one.
func (c *PurgeController) pass(ctx context.Context, epoch uint64, logger *zap.Logger) time.Duration {
	if err := c.Store.Prepare(ctx); err != nil {
		// Not mounted yet, most likely: nobody is hurt by trying again.
		logger.Debug("volumes are not ready", zap.Error(err))

		return purgeRetry
	}

	purged, err := c.Store.Purge(ctx)
	for _, id := range purged.Volumes {
		name, _, _ := strings.Cut(id, "@")
		c.Events.Emit("volume.expired", epoch, fmt.Sprintf("deleted volume %s is gone for good, its time was over", name))
		logger.Info("deleted volume purged", zap.String("archive", id))
	}

	if err != nil {
		logger.Warn("purge of deleted volumes failed", zap.Error(err))

		return PurgeInterval
	}

	if purged.More {
		return purgeRetry
	}

	return PurgeInterval
}
