package node

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
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
// time, or when it gave its word to the quorum and hears nothing of it. It trusts
// no other controller: it asks the authority itself, and looks at the process
// itself. Where the authority doesn't answer, the watchdog is not fed.
type FenceController struct {
	// MayServeUntil is when the lease ends; zero where there is none.
	MayServeUntil func() time.Time
	// Master is the name of mfsmaster's container.
	Master string
	// GuardedUntil is when the node is reset unless it hears of the quorum before;
	// false where it gave no such word.
	GuardedUntil func() (time.Time, bool)
	// Deadline from the loss of the lease until the node is reset. The last Tell of it
	// is for the event of that to get to the journal and the console.
	Deadline, Tell time.Duration
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
		// Only so that a lease that ends before its time is seen at once.
		safe.Input[*authority.AuthorityStatus](controller.InputWeak),
		resources.Input(containers.ContainerStatusType, c.Master),
	}
}

// Outputs implements controller.Controller.
func (*FenceController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *FenceController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	dead := deadman{deadline: c.Deadline - c.Tell}

	ticker := time.NewTicker(c.FeedInterval)
	defer ticker.Stop()

	again := time.NewTimer(0)
	defer again.Stop()

	for {
		due := false

		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-again.C:
		case <-ticker.C:
			due = true
		}

		// Before the watchdog is fed, so that it is not where this doesn't succeed.
		left, err := c.guard(logger)
		if err != nil {
			return err
		}

		pid, err := c.master(ctx, r)
		if err != nil {
			return err
		}

		until := c.MayServeUntil()

		reset, wait := dead.verdict(c.Now(), until, pid != 0 && c.CanAnswer(pid))
		if reset {
			err = c.reset(fmt.Sprintf("mfsmaster (process %d) could not be stopped in time", pid), logger)
			if err != nil {
				return err
			}
		}

		if wait = sooner(wait, left); wait > 0 {
			again.Reset(wait)
		}

		if due {
			c.feed(logger)
		}

		r.ResetRestartBackoff()
	}
}

// guard resets a node whose word to the quorum has come due: its volumes are about
// to be given to others. It returns how long that is ahead, 0 where it gave none.
func (c *FenceController) guard(logger *zap.Logger) (time.Duration, error) {
	until, guarded := c.GuardedUntil()
	if !guarded {
		return 0, nil
	}

	if left := until.Sub(c.Now()); left > 0 {
		return left, nil
	}

	return 0, c.reset("nothing was heard of the quorum for so long that this node's volumes go to others", logger)
}

// sooner of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}

	return min(a, b)
}

// reset the node, once the word of it had the time to get out.
func (c *FenceController) reset(why string, logger *zap.Logger) error {
	logger.Error("resetting this node", zap.String("reason", why))

	if c.Events != nil {
		c.Events.Emit("node.fence", 0, why+": resetting this node")
	}

	<-time.After(c.Tell)

	return c.Reset()
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

// master returns the process of a running master, or 0.
func (c *FenceController) master(ctx context.Context, r controller.Reader) (int, error) {
	master, err := resources.Spec[*containers.ContainerStatus](ctx, r, c.Master)
	if err != nil || master == nil {
		return 0, err
	}

	return master.PID, nil
}
