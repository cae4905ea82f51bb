package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// Kill implements Killer.
func (c *Containerd) Kill(ctx context.Context, name string, signal syscall.Signal) error {
	live := c.live.get(name)

	var group error

	if signal == syscall.SIGKILL {
		group = c.killGroups(name, live.id)
	}

	if live.process != nil {
		// The handle alone is enough: its end takes the PID namespace along, and a mount,
		// which has none of its own, is one process.
		return live.process.signal(signal)
	}

	if signal == syscall.SIGKILL {
		return group
	}

	task, err := c.task(ctx, cmp.Or(live.id, name))
	if err != nil || task == nil {
		return err
	}

	return ignoreNotFound(task.Kill(ctx, signal))
}

// killGroups kills the group of what is known to live, or else everything that
// may.
func (c *Containerd) killGroups(name, id string) error {
	if id != "" {
		return killCgroup(c.places.cgroup(id))
	}

	var errs []error
	for _, slot := range slots(name) {
		errs = append(errs, killCgroup(c.places.cgroup(slot)))
	}

	return errors.Join(errs...)
}

// task returns containerd's own task, or nil when there is none.
func (c *Containerd) task(ctx context.Context, id string) (containerd.Task, error) {
	container, err := c.client.LoadContainer(ctx, id)
	if err != nil {
		return nil, ignoreNotFound(err)
	}

	task, err := container.Task(ctx, nil)
	if err != nil {
		return nil, ignoreNotFound(err)
	}

	return task, nil
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}

	return err
}

// Alive says whether any process of the container is there, without asking
// containerd: after a Kill, false is the proof. A spare's doesn't count: none of
// the program has run in it.
func (c *Containerd) Alive(name string) (bool, error) {
	if p := c.live.get(name).process; p != nil && p.alive() {
		return true, nil
	}

	for _, id := range slots(name) {
		if s := c.spares.get(name); s != nil && s.id == id {
			continue
		}

		busy, err := populated(c.places.cgroup(id))
		if err != nil || busy {
			return busy, err
		}
	}

	return false, nil
}

// Stop implements Runtime.
func (c *Containerd) Stop(ctx context.Context, name string, signal syscall.Signal, timeout time.Duration) error {
	live := c.live.get(name)

	return c.end(ctx, cmp.Or(live.id, name), live.process, signal, timeout)
}

// Delete implements Runtime.
func (c *Containerd) Delete(ctx context.Context, name string) error {
	live := c.live.get(name)

	err := c.delete(ctx, cmp.Or(live.id, name))
	if err != nil {
		return err
	}

	c.live.put(name, instance{})

	return nil
}

// RemoveSpare implements Runtime.
func (c *Containerd) RemoveSpare(ctx context.Context, name string) error {
	s := c.spares.get(name)
	if s == nil {
		return nil
	}

	err := c.delete(ctx, s.id)
	if err != nil {
		return err
	}

	c.spares.put(name, nil)

	return nil
}

func (c *Containerd) delete(ctx context.Context, id string) error {
	container, err := c.client.LoadContainer(ctx, id)
	if err == nil {
		err = c.discard(ctx, container)
	}

	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container %q: %w", id, err)
	}

	return os.RemoveAll(filepath.Dir(c.places.etc(id)))
}

// end stops the processes, with containerd's help only where there is no
// handle.
func (c *Containerd) end(ctx context.Context, id string, p *process, signal syscall.Signal, timeout time.Duration) error {
	if p == nil {
		err := c.endByContainerd(ctx, id, signal, timeout)
		if err != nil {
			return err
		}

		return c.empty(ctx, id)
	}

	err := p.signal(signal)
	if err != nil {
		return err
	}

	if p.endsWithin(ctx, timeout) {
		return c.empty(ctx, id)
	}

	err = errors.Join(killCgroup(c.places.cgroup(id)), p.signal(syscall.SIGKILL))
	if err != nil {
		return err
	}

	if !p.endsWithin(ctx, killDeadline) {
		return fmt.Errorf("process %d does not end after SIGKILL: it hangs in the kernel, only a reset of the node ends it", p.pid)
	}

	return c.empty(ctx, id)
}

// endByContainerd asks for an orderly end; the deletion that follows is not
// orderly.
func (c *Containerd) endByContainerd(ctx context.Context, id string, signal syscall.Signal, timeout time.Duration) error {
	if signal == syscall.SIGKILL || timeout == 0 {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	task, err := c.task(ctx, id)
	if err != nil || task == nil {
		return err
	}

	ended, err := task.Wait(ctx)
	if err != nil {
		return ignoreNotFound(err)
	}

	err = task.Kill(ctx, signal)
	if err != nil {
		return ignoreNotFound(err)
	}

	<-ended

	return nil
}

// discard deletes a container, its task and the mounts it left behind.
func (c *Containerd) discard(ctx context.Context, container containerd.Container) error {
	labels, err := container.Labels(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("read labels: %w", err)
	}

	err = DiscardTask(ctx, c.client, container)
	if err != nil {
		return fmt.Errorf("delete task: %w", err)
	}

	err = container.Delete(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container: %w", err)
	}

	for path := range strings.SplitSeq(labels[labelShared], ":") {
		if path == "" {
			continue
		}

		err = unmountFuse(path)
		if err != nil {
			return err
		}
	}

	return nil
}

// DiscardTask kills and deletes the task of a container; none is no error. One
// whose making was given up half way may be a shim without a process: containerd
// says that no such task is there and refuses to make another, until it is told to
// delete it all the same.
func DiscardTask(ctx context.Context, client *containerd.Client, container containerd.Container) error {
	task, err := container.Task(ctx, nil)
	if err == nil {
		_, err = task.Delete(ctx, containerd.WithProcessKill)

		return ignoreNotFound(err)
	}

	if !errdefs.IsNotFound(err) {
		return err
	}

	_, err = client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: container.ID()})
	if grpcstatus.Code(err) == codes.NotFound {
		return nil
	}

	return err
}

// empty kills whatever is left in the container's cgroup and waits for its end.
func (c *Containerd) empty(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, killDeadline)
	defer cancel()

	for {
		busy, err := populated(c.places.cgroup(id))
		if err != nil || !busy {
			return err
		}

		err = killCgroup(c.places.cgroup(id))
		if err != nil {
			return err
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for processes in %s to end after SIGKILL (hanging in the kernel?): %w",
				c.places.cgroup(id), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
