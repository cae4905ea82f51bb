package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/resources"
	"antler/services/volume"
)

// Releasable are volumes whose uses can be ended.
type Releasable interface {
	List(ctx context.Context) ([]volume.Volume, error)
	ReleaseUse(ctx context.Context, name, id, node string, dead func() bool) (bool, error)
}

// Events is the cluster's log of what happened.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// ReleaseController gives the volumes of nodes that the quorum has recorded as dead
// to others. It works where the master serves, and nowhere else.
type ReleaseController struct {
	Volumes Releasable
	// Nodes are the names of those that use volumes.
	Nodes []string
	// Dead is the quorum's record as this node knows it now.
	Dead   func(node string) bool
	Events Events
}

// releaseInterval is between two passes while a node is dead: a call that it made
// before may have been carried out after the last one.
const releaseInterval = 10 * time.Second

// Name implements controller.Controller.
func (*ReleaseController) Name() string { return "kubernetes.ReleaseController" }

// Inputs implements controller.Controller.
func (*ReleaseController) Inputs() []controller.Input {
	return []controller.Input{
		resources.Input(metadata.MasterStatusType, metadata.MasterStatusID),
		safe.Input[*authority.AuthorityStatus](controller.InputWeak),
	}
}

// Outputs implements controller.Controller.
func (*ReleaseController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *ReleaseController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	var (
		done []string
		in   uint64
	)

	ticker := time.NewTicker(releaseInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-ticker.C:
			done = nil
		}

		master, err := metadata.Serving(ctx, r)
		if err != nil {
			return err
		}

		if master == nil || !master.Answering {
			continue
		}

		dead := slices.DeleteFunc(slices.Clone(c.Nodes), func(node string) bool { return !c.Dead(node) })
		if len(dead) == 0 || slices.Equal(dead, done) && in == master.Epoch {
			continue
		}

		if err := c.release(ctx, master.Epoch, dead); err != nil {
			logger.Warn("volumes of dead nodes are not free yet", zap.Strings("nodes", dead), zap.Error(err))

			continue // the ticker comes back to it
		}

		done, in = dead, master.Epoch

		r.ResetRestartBackoff()
	}
}

// release ends all uses of the nodes, as far as it can.
func (c *ReleaseController) release(ctx context.Context, epoch uint64, nodes []string) error {
	all, err := c.Volumes.List(ctx)
	if err != nil {
		return err
	}

	var errs []error

	for _, v := range all {
		for _, node := range nodes {
			if _, used := v.Uses[node]; !used {
				continue
			}

			released, err := c.Volumes.ReleaseUse(ctx, v.Name, v.ID, node, func() bool { return c.Dead(node) })
			if err != nil {
				errs = append(errs, err)
			}

			if released {
				c.Events.Emit("volume.released", epoch, fmt.Sprintf("volume %s is free for other nodes: %s, which used it, is dead", v.Name, node))
			}
		}
	}

	return errors.Join(errs...)
}
