package containers

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/resources"
)

// OrphanGrace is how long a container that was found running may wait for its
// spec when antlerd starts. Its owner needs the cluster's state for that, and
// stopping a chunkserver because the quorum is slow would be a fault of ours.
// A container whose spec was seen and is gone is stopped at once.
const OrphanGrace = 60 * time.Second

// Controller keeps one container for each ContainerSpec and reports it as a
// ContainerStatus of the same name.
type Controller struct {
	Runtime Runtime
	// LogDir holds NAME.log.
	LogDir string
	// Grace replaces OrphanGrace in tests.
	Grace time.Duration

	keepers map[string]*supervised
	// discovered: what was there before has a keeper.
	discovered bool
	changed    chan struct{}
	running    sync.WaitGroup
}

// supervised is a keeper with the version of the spec it was last told.
type supervised struct {
	*keeper
	version string
}

// Name implements controller.Controller.
func (*Controller) Name() string { return "containers.Controller" }

// Inputs implements controller.Controller.
func (*Controller) Inputs() []controller.Input {
	return []controller.Input{{
		Namespace: resources.Namespace,
		Type:      ContainerSpecType,
		Kind:      controller.InputWeak,
	}}
}

// Outputs implements controller.Controller.
func (*Controller) Outputs() []controller.Output {
	return []controller.Output{
		{Type: ContainerStatusType, Kind: controller.OutputExclusive},
		{Type: InventoryType, Kind: controller.OutputExclusive},
	}
}

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.running.Wait()
	defer cancel()

	c.keepers, c.discovered = map[string]*supervised{}, false
	c.changed = make(chan struct{}, 1)

	orphans := make(chan []string, 1)

	c.running.Go(func() { c.discover(ctx, logger, orphans) })

	grace := c.Grace
	if grace == 0 {
		grace = OrphanGrace
	}

	var overdue <-chan time.Time

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-c.changed:
		case names := <-orphans:
			overdue = time.After(grace)

			for _, name := range names {
				c.find(ctx, name, logger)
			}

			c.discovered = true
		case <-overdue:
			c.dismiss()
		}

		err := c.distribute(ctx, r, logger)
		if err != nil {
			return err
		}

		err = c.report(ctx, r)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

// discover finds what ran before antlerd did.
func (c *Controller) discover(ctx context.Context, logger *zap.Logger, found chan<- []string) {
	var pause backoff

	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		names, err := c.Runtime.Names(call)

		cancel()

		if err == nil {
			found <- names

			return
		}

		logger.Warn("list containers", zap.Error(err))

		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.next()):
		}
	}
}

// find starts a keeper for a container that nobody has asked for yet: it is
// reported, so that its owner sees what runs, and left alone.
func (c *Controller) find(ctx context.Context, name string, logger *zap.Logger) {
	if _, known := c.keepers[name]; known {
		return
	}

	k := c.keep(name, logger)
	c.running.Go(func() { k.hold(ctx) })
}

// dismiss stops what nobody has asked for in time.
func (c *Controller) dismiss() {
	for _, k := range c.keepers {
		if k.version == "" {
			k.set(nil)
		}
	}
}

func (c *Controller) keep(name string, logger *zap.Logger) *supervised {
	k := &supervised{keeper: newKeeper(name, c.Runtime, filepath.Join(c.LogDir, name+".log"), logger, c.notify)}
	c.keepers[name] = k

	return k
}

func (c *Controller) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// distribute tells every keeper what is wanted of it.
func (c *Controller) distribute(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	specs, err := safe.ReaderListAll[*ContainerSpec](ctx, r)
	if err != nil {
		return fmt.Errorf("list container specs: %w", err)
	}

	wanted := map[string]bool{}

	for spec := range specs.All() {
		if spec.Metadata().Phase() != resource.PhaseRunning {
			continue
		}

		name := spec.Metadata().ID()
		wanted[name] = true

		k := c.keepers[name]

		begun := k != nil && !k.isGone()
		if !begun {
			k = c.keep(name, logger)
		}

		// An unchanged spec must not cut a back-off short.
		if version := spec.Metadata().Created().String() + "/" + spec.Metadata().Version().String(); k.version != version {
			k.version = version
			k.set(new(spec.TypedSpec().DeepCopy()))
		}

		// Not before it is told: one that is wanted no more is stopped.
		if !begun {
			c.running.Go(func() { k.run(ctx) })
		}
	}

	for name, k := range c.keepers {
		if !wanted[name] && k.version != "" && k.version != withdrawn {
			k.version = withdrawn
			k.set(nil)
		}
	}

	return nil
}

// withdrawn is what a keeper was last told when its spec is gone.
const withdrawn = "withdrawn"

// report writes every keeper's status and takes away those that are gone.
func (c *Controller) report(ctx context.Context, r controller.Runtime) error {
	for name, k := range c.keepers {
		status, gone := k.report()

		if gone {
			delete(c.keepers, name)

			continue
		}

		err := safe.WriterModify(ctx, r, NewContainerStatus(name), func(res *ContainerStatus) error {
			*res.TypedSpec() = status

			return nil
		})
		if err != nil {
			return fmt.Errorf("report container %q: %w", name, err)
		}
	}

	statuses, err := safe.ReaderListAll[*ContainerStatus](ctx, r)
	if err != nil {
		return fmt.Errorf("list container statuses: %w", err)
	}

	for status := range statuses.All() {
		if _, kept := c.keepers[status.Metadata().ID()]; kept {
			continue
		}

		err = r.Destroy(ctx, status.Metadata())
		if err != nil {
			return fmt.Errorf("take back the status of container %q: %w", status.Metadata().ID(), err)
		}
	}

	return c.reportInventory(ctx, r)
}

// reportInventory comes after the statuses: what it speaks of is there.
func (c *Controller) reportInventory(ctx context.Context, r controller.Runtime) error {
	err := safe.WriterModify(ctx, r, NewInventory(), func(res *Inventory) error {
		res.TypedSpec().Complete = c.discovered

		return nil
	})
	if err != nil {
		return fmt.Errorf("report what is known of the containers: %w", err)
	}

	return nil
}
