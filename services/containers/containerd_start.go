package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// spare is a container that waits to become its program, see trigger.go: making
// one takes containerd, a shim and runc nearly all the time that a start takes.
type spare struct {
	id        string
	container containerd.Container
	task      containerd.Task
	labels    map[string]string
}

// Prepare implements Runtime.
func (c *Containerd) Prepare(ctx context.Context, name string, spec ContainerSpecSpec) error {
	if s := c.spares.get(name); s != nil && s.labels[labelDigest] == Digest(spec) {
		return nil
	}

	err := c.RemoveSpare(ctx, name)
	if err != nil {
		return err
	}

	id := c.free(name)

	task, err := c.look(ctx, name, id)
	if err != nil {
		return err
	}

	if task != nil {
		return fmt.Errorf("process %d runs where the spare belongs: %w", task.PID, errdefs.ErrAlreadyExists)
	}

	s, err := c.create(ctx, name, id, spec, true)
	if err != nil {
		return err
	}

	err = s.task.Start(ctx)
	if err != nil {
		return fmt.Errorf("start the spare: %w", err)
	}

	c.places.warm(spec.Args[0])
	c.spares.put(name, s)

	return nil
}

// free is the slot that nothing runs in.
func (c *Containerd) free(name string) string {
	ids := slots(name)
	if c.live.get(name).id == ids[0] {
		return ids[1]
	}

	return ids[0]
}

// Start implements Runtime.
func (c *Containerd) Start(ctx context.Context, name string, spec ContainerSpecSpec) (*Task, error) {
	s := c.spares.get(name)
	if s != nil && s.labels[labelDigest] == Digest(spec) {
		task, err := c.letGo(ctx, name, spec, s)
		if err == nil {
			return task, nil
		}
	}

	err := c.vacate(ctx, name)
	if err != nil {
		return nil, err
	}

	s, err = c.create(ctx, name, slots(name)[0], spec, false)
	if err != nil {
		return nil, err
	}

	return c.start(ctx, name, spec, s, s.task.Start)
}

// letGo starts the spare, unless something of this name still lives.
func (c *Containerd) letGo(ctx context.Context, name string, spec ContainerSpecSpec, s *spare) (*Task, error) {
	alive, err := c.Alive(name)
	if err != nil {
		return nil, err
	}

	if alive {
		return nil, fmt.Errorf("a process still runs: %w", errdefs.ErrAlreadyExists)
	}

	return c.start(ctx, name, spec, s, func(context.Context) error { return c.places.pull(s.id) })
}

// start the program by calling let.
func (c *Containerd) start(ctx context.Context, name string, spec ContainerSpecSpec, s *spare, let func(context.Context) error) (*Task, error) {
	// Before the program runs, so that Kill finds it from its first moment.
	c.spares.put(name, nil)
	p := c.hold(name, s.id, int(s.task.Pid()))

	s.labels[labelGeneration] = strconv.FormatUint(spec.Generation, 10)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return let(ctx) })
	group.Go(func() error {
		_, err := s.container.SetLabels(ctx, s.labels)

		return err
	})

	err := group.Wait()
	if err != nil {
		return nil, fmt.Errorf("start %v: %w", spec.Args, err)
	}

	return c.watched(s.task, p, s.labels), nil
}

// create makes a container up to the point where its program would run, or would
// wait where it is to stand by.
func (c *Containerd) create(ctx context.Context, name, id string, spec ContainerSpecSpec, standBy bool) (*spare, error) {
	err := errors.Join(clearBundle(c.places.bundle(id)), c.prepareHost(id, spec))
	if err != nil {
		return nil, err
	}

	args := spec.Args

	if standBy {
		args = waiting("/etc/"+pipeName, args)

		err = c.places.makePipe(id)
		if err != nil {
			return nil, err
		}
	}

	labels := map[string]string{
		labelName:   name,
		labelDigest: Digest(spec),
		labelShared: strings.Join(sharedPaths(spec), ":"),
	}

	container, err := c.client.NewContainer(ctx, id,
		containerd.WithRuntime(runcRuntime, nil),
		containerd.WithSpec(ociSpec(id, spec, args, c.places)),
		containerd.WithContainerLabels(labels))
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}

	task, err := container.NewTask(ctx, cio.LogFile(c.places.log(name)))
	if err != nil {
		return nil, fmt.Errorf("create task: %w", err)
	}

	err = schedule(int(task.Pid()), spec)
	if err != nil {
		return nil, err
	}

	return &spare{id: id, container: container, task: task, labels: labels}, nil
}

// vacate makes sure that nothing lives under the name: neither for containerd
// nor, should it have forgotten, for the kernel. A spare goes as well.
func (c *Containerd) vacate(ctx context.Context, name string) error {
	task, err := c.Find(ctx, name)
	if err != nil {
		return err
	}

	if task != nil {
		return fmt.Errorf("process %d still runs: %w", task.PID, errdefs.ErrAlreadyExists)
	}

	err = c.RemoveSpare(ctx, name)
	if err != nil {
		return err
	}

	for _, id := range slots(name) {
		err = c.empty(ctx, id)
		if err != nil {
			return err
		}
	}

	return nil
}

// prepareHost makes what the container finds on the host.
func (c *Containerd) prepareHost(id string, spec ContainerSpecSpec) error {
	err := writeEtc(c.places.etc(id), spec.Files)
	if err != nil {
		return err
	}

	err = os.MkdirAll(c.places.LogDir(), 0o700)
	if err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}

	for _, m := range spec.Mounts {
		switch {
		case m.Shared:
			err = shareMountpoint(m.Source)
		case m.Slave:
			err = os.MkdirAll(m.Source, 0o755)
		}

		if err != nil {
			return err
		}
	}

	return nil
}

func sharedPaths(spec ContainerSpecSpec) []string {
	var paths []string

	for _, m := range spec.Mounts {
		if m.Shared {
			paths = append(paths, m.Source)
		}
	}

	return paths
}
