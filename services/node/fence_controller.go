package node

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/gen/optional"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/containers"
	"antler/services/resources"
)

// Events is the cluster's log of what happened.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// FenceController is the last line: it feeds the watchdog while antlerd lives,
// and resets the node when the lease is lost and mfsmaster can't be stopped in
// time. It trusts no other controller: it looks at the process itself.
type FenceController struct {
	// Master is the name of mfsmaster's container.
	Master string
	// Deadline from the loss of the lease until the node is reset.
	Deadline time.Duration
	// Feed keeps the watchdog quiet; nil where there is none.
	Feed func() error
	// FeedInterval is a small part of the watchdog's timeout.
	FeedInterval time.Duration
	// Reset resets the machine.
	Reset func() error
	// Events may be nil.
	Events Events
	// Now is the monotonic clock.
	Now func() time.Time
	// CanAnswer says whether the process may still answer a client.
	CanAnswer func(pid int) bool
}

// Name implements controller.Controller.
func (*FenceController) Name() string { return "node.FenceController" }

// Inputs implements controller.Controller.
func (c *FenceController) Inputs() []controller.Input {
	return []controller.Input{
		safe.Input[*authority.AuthorityStatus](controller.InputWeak),
		{
			Namespace: resources.Namespace,
			Type:      containers.ContainerStatusType,
			ID:        optional.Some(c.Master),
			Kind:      controller.InputWeak,
		},
	}
}

// Outputs implements controller.Controller.
func (*FenceController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *FenceController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	dead := deadman{deadline: c.Deadline}

	ticker := time.NewTicker(c.FeedInterval)
	defer ticker.Stop()

	again := time.NewTimer(0)
	defer again.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-again.C:
		case <-ticker.C:
			c.feed(logger)
		}

		leaseValid, pid, err := c.observe(ctx, r)
		if err != nil {
			return err
		}

		reset, wait := dead.verdict(c.Now(), leaseValid, pid != 0 && c.CanAnswer(pid))
		if reset {
			logger.Error("lease lost and mfsmaster still runs: resetting this node", zap.Int("pid", pid))

			if c.Events != nil {
				c.Events.Emit("node.fence", 0, fmt.Sprintf("mfsmaster (process %d) could not be stopped in time: resetting this node", pid))
			}

			err = c.Reset()
			if err != nil {
				return err
			}
		}

		if wait > 0 {
			again.Reset(wait)
		}

		r.ResetRestartBackoff()
	}
}

func (c *FenceController) feed(logger *zap.Logger) {
	if c.Feed == nil {
		return
	}

	err := c.Feed()
	if err != nil {
		logger.Warn("watchdog", zap.Error(err))
	}
}

// observe returns whether the lease is valid and the pid of a running master.
func (c *FenceController) observe(ctx context.Context, r controller.Reader) (bool, int, error) {
	status, err := safe.ReaderGetByID[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if state.IsNotFoundError(err) {
		// antlerd has just started and doesn't know yet what it may do.
		return true, 0, nil
	}

	if err != nil {
		return false, 0, fmt.Errorf("read authority: %w", err)
	}

	master, err := safe.ReaderGetByID[*containers.ContainerStatus](ctx, r, c.Master)
	if state.IsNotFoundError(err) {
		return status.TypedSpec().MayServe(), 0, nil
	}

	if err != nil {
		return false, 0, fmt.Errorf("read master's container: %w", err)
	}

	return status.TypedSpec().MayServe(), master.TypedSpec().PID, nil
}
