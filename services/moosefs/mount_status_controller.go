package moosefs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/resources"
)

const (
	// mountInterval is how often a mount is asked whether it lives; until it
	// does for the first time, mountStartInterval.
	mountInterval      = 5 * time.Second
	mountStartInterval = 250 * time.Millisecond
	// mountDeadline is for an answer. A mount without a master gives none until
	// its patience ends.
	mountDeadline = 2 * time.Second
)

// MountProber says whether a MooseFS mount is there and answers.
type MountProber interface {
	// Probe returns whether a FUSE file system is mounted at path, and an error
	// if it is but gives no answer before ctx ends.
	Probe(ctx context.Context, path string) (mounted bool, err error)
}

// MountStatusController watches the mounts of this node.
type MountStatusController struct {
	Prober MountProber
	// Paths of the mounts by the name of the container that makes them.
	Paths map[string]string
	// VolumeDir holds the mounts of single volumes; config.VolumeMountDir.
	VolumeDir string
}

// Name implements controller.Controller.
func (*MountStatusController) Name() string { return "moosefs.MountStatusController" }

// Inputs implements controller.Controller.
func (*MountStatusController) Inputs() []controller.Input {
	return []controller.Input{{
		Namespace: resources.Namespace,
		Type:      containers.ContainerStatusType,
		Kind:      controller.InputWeak,
	}, {
		Namespace: resources.Namespace,
		Type:      VolumeMountSpecType,
		Kind:      controller.InputWeak,
	}}
}

// Outputs implements controller.Controller.
func (*MountStatusController) Outputs() []controller.Output {
	return []controller.Output{{Type: MountStatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *MountStatusController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	pause := time.NewTimer(mountInterval)
	defer pause.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-pause.C:
		}

		next, err := c.reconcile(ctx, r)
		if err != nil {
			return err
		}

		pause.Reset(next)
		r.ResetRestartBackoff()
	}
}

func (c *MountStatusController) reconcile(ctx context.Context, r controller.Runtime) (time.Duration, error) {
	r.StartTrackingOutputs()

	mounts, err := c.mounts(ctx, r)
	if err != nil {
		return 0, err
	}

	next := mountInterval

	for name, spec := range c.probeAll(ctx, mounts) {
		if !spec.Alive && mounts[name].container.Running {
			next = mountStartInterval
		}

		err = safe.WriterModify(ctx, r, NewMountStatus(name), func(res *MountStatus) error {
			*res.TypedSpec() = spec

			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("report mount %s: %w", spec.Path, err)
		}
	}

	return next, safe.CleanupOutputs[*MountStatus](ctx, r)
}

// mount is one to be asked.
type mount struct {
	path, volume string
	container    containers.ContainerStatusSpec
}

// mounts returns those that have a container, by its name.
func (c *MountStatusController) mounts(ctx context.Context, r controller.Reader) (map[string]mount, error) {
	known := map[string]mount{}
	for name, path := range c.Paths {
		known[name] = mount{path: path}
	}

	volumes, err := safe.ReaderListAll[*VolumeMountSpec](ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list the mounts of volumes: %w", err)
	}

	for v := range volumes.All() {
		id := v.Metadata().ID()
		known[VolumeMountContainer(id)] = mount{path: volumeMountPath(c.VolumeDir, id), volume: v.TypedSpec().Volume}
	}

	statuses, err := safe.ReaderListAll[*containers.ContainerStatus](ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}

	out := map[string]mount{}

	for status := range statuses.All() {
		name := status.Metadata().ID()

		if m, ours := known[name]; ours {
			m.container = *status.TypedSpec()
			out[name] = m
		}
	}

	return out, nil
}

// probeAll asks all of them at once: one that gives no answer holds up no other.
func (c *MountStatusController) probeAll(ctx context.Context, mounts map[string]mount) map[string]MountStatusSpec {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		out   = map[string]MountStatusSpec{}
	)

	for name, m := range mounts {
		group.Go(func() {
			spec := c.probe(ctx, m)

			mu.Lock()
			defer mu.Unlock()

			out[name] = spec
		})
	}

	group.Wait()

	return out
}

func (c *MountStatusController) probe(ctx context.Context, m mount) MountStatusSpec {
	out := MountStatusSpec{Path: m.path, Volume: m.volume, Error: m.container.Error}
	if !m.container.Running {
		return out
	}

	ctx, cancel := context.WithTimeout(ctx, mountDeadline)
	defer cancel()

	mounted, err := c.Prober.Probe(ctx, m.path)
	out.Mounted, out.Alive = mounted, mounted && err == nil

	if err != nil {
		out.Error = err.Error()
	}

	return out
}

// HostMounts probes mounts on this host.
type HostMounts struct {
	mu   sync.Mutex
	busy map[string]chan error
}

// fuseMagic is the type of a FUSE file system in statfs(2).
const fuseMagic = 0x65735546

// errNoMaster is what a mount without an answer most likely means.
var errNoMaster = errors.New("mount gives no answer: it has no connection to a master")

// Probe implements MountProber. A statfs that hangs holds one thread; there is
// never a second for the same path.
func (h *HostMounts) Probe(ctx context.Context, path string) (bool, error) {
	h.mu.Lock()

	if h.busy == nil {
		h.busy = map[string]chan error{}
	}

	done, asking := h.busy[path]
	if !asking {
		done = make(chan error, 1)
		h.busy[path] = done

		go func() { done <- statMount(path) }()
	}
	h.mu.Unlock()

	var err error

	select {
	case <-ctx.Done():
		// It is FUSE: nothing else hangs.
		return true, fmt.Errorf("%w (%s)", errNoMaster, path)
	case err = <-done:
	}

	h.mu.Lock()
	delete(h.busy, path)
	h.mu.Unlock()

	if errors.Is(err, errNotMounted) {
		return false, nil
	}

	return true, err
}

var errNotMounted = errors.New("nothing is mounted")

func statMount(path string) error {
	var stat unix.Statfs_t

	err := unix.Statfs(path, &stat)
	if err != nil {
		return fmt.Errorf("ask the mount at %s: %w", path, err)
	}

	if stat.Type != fuseMagic {
		return errNotMounted
	}

	return nil
}
