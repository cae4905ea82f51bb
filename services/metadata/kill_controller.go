package metadata

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/resources"
)

// Killer ends a container's process at once, without anybody's help.
type Killer interface {
	Kill(ctx context.Context, name string, signal syscall.Signal) error
	// Alive reports whether any process of the container is left.
	Alive(name string) (bool, error)
}

// KillController kills mfsmaster the moment the lease is lost.
type KillController struct {
	Killer Killer
	Events Events
}

// A process that was killed is gone in no time, or hangs in the kernel: then the
// fence resets the node.
const (
	killPoll     = 5 * time.Millisecond
	killPatience = 5 * time.Second
)

// Name implements controller.Controller.
func (*KillController) Name() string { return "metadata.KillController" }

// Inputs implements controller.Controller.
func (*KillController) Inputs() []controller.Input {
	return []controller.Input{safe.Input[*authority.AuthorityStatus](controller.InputWeak)}
}

// Outputs implements controller.Controller.
func (*KillController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *KillController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	// An earlier run of antlerd may have left a master, and no lease.
	might := true

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		who, err := resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
		if err != nil {
			return err
		}

		if who == nil {
			continue
		}

		// Once per loss is enough: nothing is started without a lease.
		before := might
		might = who.MayServe()

		if before && !might {
			err = c.kill(ctx, who.Epoch)
			if err != nil {
				return fmt.Errorf("lease lost: %w", err)
			}
		}

		r.ResetRestartBackoff()
	}
}

// kill the master if there is one, and tell when it is gone.
func (c *KillController) kill(ctx context.Context, epoch uint64) error {
	alive, err := c.Killer.Alive(Container)
	if err == nil && !alive {
		return nil
	}

	err = errors.Join(err, c.Killer.Kill(ctx, Container, syscall.SIGKILL))
	if err != nil {
		return fmt.Errorf("kill mfsmaster: %w", err)
	}

	ticker := time.NewTicker(killPoll)
	defer ticker.Stop()

	for begin := time.Now(); alive && time.Since(begin) < killPatience; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}

		alive, err = c.Killer.Alive(Container)
		if err != nil {
			return fmt.Errorf("look whether mfsmaster is gone: %w", err)
		}
	}

	if alive {
		return fmt.Errorf("mfsmaster hangs in the kernel %s after SIGKILL", killPatience)
	}

	c.Events.Emit("metadata.master-killed", epoch, "the lease is lost: mfsmaster is gone")

	return nil
}
