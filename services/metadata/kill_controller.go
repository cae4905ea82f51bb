package metadata

import (
	"context"
	"fmt"
	"syscall"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"go.uber.org/zap"

	"antler/services/authority"
)

// Killer ends a container's process at once, without anybody's help.
type Killer interface {
	Kill(ctx context.Context, name string, signal syscall.Signal) error
}

// KillController kills mfsmaster the moment the lease is lost.
type KillController struct {
	Killer Killer
	Events Events
}

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
	might := false

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		who, err := safe.ReaderGetByID[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
		if state.IsNotFoundError(err) {
			continue
		}

		if err != nil {
			return fmt.Errorf("read authority: %w", err)
		}

		// Once per loss is enough: nothing is started without a lease.
		before := might
		might = who.TypedSpec().MayServe()

		if before && !might {
			err = c.Killer.Kill(ctx, Container, syscall.SIGKILL)
			if err != nil {
				return fmt.Errorf("lease lost: kill mfsmaster: %w", err)
			}
		}

		r.ResetRestartBackoff()
	}
}
