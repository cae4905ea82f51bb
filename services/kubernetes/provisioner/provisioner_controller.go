package provisioner

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/kubernetes"
	"antler/services/metadata"
	"antler/services/resources"
)

// Controller runs the provisioner where the master serves, and nowhere else. It
// owns ProvisionerStatus.
type Controller struct {
	// Start begins to work in an epoch, and ends when ctx does. What it returns
	// tells how far it is, and counts.
	Start  func(ctx context.Context, epoch uint64) Running
	Counts *Counts
	// Kubeconfig, for the status.
	Kubeconfig string
	Now        func() time.Time
}

// Running is the provisioner of one epoch.
type Running interface {
	Connection() Connection
	// Ended is closed when nothing of it is left.
	Ended() <-chan struct{}
}

// statusInterval is how old the status may be.
const statusInterval = time.Second

// Name implements controller.Controller.
func (*Controller) Name() string { return "kubernetes.ProvisionerController" }

// Inputs implements controller.Controller.
func (*Controller) Inputs() []controller.Input {
	return []controller.Input{resources.Input(metadata.MasterStatusType, metadata.MasterStatusID)}
}

// Outputs implements controller.Controller.
func (*Controller) Outputs() []controller.Output {
	return []controller.Output{{Type: kubernetes.ProvisionerStatusType, Kind: controller.OutputExclusive}}
}

// worker is the one that runs.
type worker struct {
	epoch uint64
	stop  context.CancelFunc
	Running
}

// end stops it and waits: there are never two.
func (w *worker) end() {
	if w != nil {
		w.stop()
		<-w.Ended()
	}
}

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	var now *worker

	defer func() { now.end() }()

	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-ticker.C:
		}

		// It need not answer at the moment: calls fail and are made again until it does.
		master, err := metadata.Serving(ctx, r)
		if err != nil {
			return err
		}

		if now != nil && (master == nil || now.epoch != master.Epoch) {
			now.end()
			now = nil

			logger.Info("claims are no longer provisioned here")
		}

		if master != nil && now == nil {
			now = c.start(ctx, master.Epoch)

			logger.Info("claims are provisioned here", zap.Uint64("epoch", master.Epoch))
		}

		if err := c.report(ctx, r, now); err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

func (c *Controller) start(ctx context.Context, epoch uint64) *worker {
	ctx, stop := context.WithCancel(ctx)

	return &worker{epoch: epoch, stop: stop, Running: c.Start(ctx, epoch)}
}

func (c *Controller) report(ctx context.Context, r controller.Writer, now *worker) error {
	spec := kubernetes.ProvisionerStatusSpec{Phase: kubernetes.ProvisionerIdle, Kubeconfig: c.Kubeconfig, Done: c.Counts.Read()}

	if now != nil {
		connection := now.Connection()

		spec.Epoch, spec.Server, spec.Phase = now.epoch, connection.Server, kubernetes.ProvisionerConnecting
		if connection.Working {
			spec.Phase = kubernetes.ProvisionerWorking
		}

		if connection.Err != nil {
			spec.Error = connection.Err.Error()
		}

		if connection.TaintsErr != nil {
			spec.TaintsError = connection.TaintsErr.Error()
		}

		if connection.SnapshotsErr != nil {
			spec.SnapshotsError = connection.SnapshotsErr.Error()
		}
	}

	err := safe.WriterModify(ctx, r, kubernetes.NewProvisionerStatus(), func(status *kubernetes.ProvisionerStatus) error {
		spec.Since = status.TypedSpec().Since
		if status.TypedSpec().Phase != spec.Phase {
			spec.Since = c.Now()
		}

		*status.TypedSpec() = spec

		return nil
	})
	if err != nil {
		return fmt.Errorf("write the provisioner's status: %w", err)
	}

	return nil
}
