package talos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"antler/services/containers"
	"antler/services/node/config"
)

const (
	// namespace in containerd, apart from that of what antlerd supervises.
	namespace = containers.Namespace + "-daemon"
	// name of the log.
	name    = "antlerd"
	runtime = "io.containerd.runc.v2"
)

// ids of antlerd's container: the next is made beside the one that runs, which takes
// seconds that the node would otherwise be without antlerd.
var ids = []string{name, name + ".b"}

// startTime is what containerd gets to start antlerd: it takes seconds under
// emulation, and longer while the node boots.
const startTime = time.Minute

// endTime is what an earlier antlerd gets to end by itself.
const endTime = 5 * time.Second

// Containerd is the real Node.
type Containerd struct {
	Socket string
	// Args is antlerd's command line, Config the file that it is to read.
	Args   []string
	Config string
	// Kubelet is kubelet's directory, "" where no pod can have volumes.
	Kubelet string
	// Out gets what antlerd logs.
	Out io.Writer
}

// daemon is the real Daemon.
type daemon struct {
	client    *containerd.Client
	container containerd.Container
	task      containerd.Task
	exited    chan int
	endLog    func()
}

// Start implements Node.
func (c *Containerd) Start(ctx context.Context) (Daemon, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()

	err := c.prepare()
	if err != nil {
		return nil, err
	}

	client, err := containers.Connect(c.Socket, namespace)
	if err != nil {
		return nil, err
	}

	started, err := c.start(ctx, client)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}

	return started, nil
}

func (c *Containerd) start(ctx context.Context, client *containerd.Client) (*daemon, error) {
	// An earlier antlerd is still to say how it ended.
	follow, err := containers.FollowLog(Places().LogDir(), name, func(line string) error {
		_, err := fmt.Fprintln(c.Out, line)

		return err
	})
	if err != nil {
		return nil, err
	}

	// It lives longer than the call.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	followed := make(chan struct{})

	go func() {
		defer close(followed)

		_ = follow(life)
	}()

	d := &daemon{client: client, exited: make(chan int, 1), endLog: func() { end(); <-followed }}

	err = d.run(ctx, c)
	if err != nil {
		d.endLog()

		return nil, err
	}

	go func() { d.exited <- containers.ExitCode(life, d.task) }()

	return d, nil
}

// run antlerd, in place of an earlier one.
func (d *daemon) run(ctx context.Context, c *Containerd) error {
	earlier, err := clearEnded(ctx, d.client)
	if err != nil {
		return err
	}

	id := ids[0]
	if earlier != nil && earlier.ID() == id {
		id = ids[1]
	}

	d.container, err = d.client.NewContainer(ctx, id, containerd.WithRuntime(runtime, nil), containerd.WithSpec(Spec(id, c.Args, c.Kubelet)))
	if err != nil {
		return fmt.Errorf("create antlerd's container: %w", err)
	}

	d.task, err = d.container.NewTask(ctx, cio.LogFile(filepath.Join(Places().LogDir(), name+".log")))
	if err != nil {
		return fmt.Errorf("create antlerd's process: %w", err)
	}

	if earlier != nil {
		err = end(ctx, earlier)
		if err != nil {
			return fmt.Errorf("end the antlerd that runs: %w", err)
		}
	}

	err = d.task.Start(ctx)
	if err != nil {
		return fmt.Errorf("start antlerd: %w", err)
	}

	if earlier != nil {
		// Where that fails the next start does it.
		_ = remove(ctx, d.client, earlier)
	}

	return nil
}

// prepare makes what the container is given. The configuration is copied because
// the node has it where the service can't name it, for the service alone.
func (c *Containerd) prepare() error {
	content, err := os.ReadFile(c.Config)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}

	for _, dir := range []string{configDir, config.RunDir + "/drbd-lock", config.RunDir + "/drbd-run", Places().LogDir()} {
		err = errors.Join(err, os.MkdirAll(dir, 0o700))
	}

	if err != nil {
		return fmt.Errorf("make antlerd's directories: %w", err)
	}

	path := filepath.Join(configDir, filepath.Base(c.Config))

	err = os.WriteFile(path+".new", content, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}

	if err != nil {
		return fmt.Errorf("hand the configuration on: %w", err)
	}

	return nil
}

// clearEnded removes what earlier runs of the service left that doesn't run, and
// returns the antlerd that does, nil for none.
func clearEnded(ctx context.Context, client *containerd.Client) (running containerd.Container, err error) {
	for _, id := range ids {
		container, err := client.LoadContainer(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}

		if err != nil {
			return nil, fmt.Errorf("look for an earlier antlerd: %w", err)
		}

		alive, err := runs(ctx, container)
		if err != nil {
			return nil, fmt.Errorf("ask whether an earlier antlerd runs: %w", err)
		}

		if alive {
			running = container

			continue
		}

		err = remove(ctx, client, container)
		if err != nil {
			return nil, fmt.Errorf("remove an earlier antlerd that has ended: %w", err)
		}
	}

	return running, nil
}

// runs reports whether the container's process was started and has not ended. Where
// containerd doesn't say that, nothing is taken for ended.
func runs(ctx context.Context, container containerd.Container) (bool, error) {
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return false, nil
	}

	if err != nil {
		return false, err
	}

	status, err := task.Status(ctx)
	if errdefs.IsNotFound(err) {
		return false, nil
	}

	if err != nil {
		return false, err
	}

	return status.Status != containerd.Created && status.Status != containerd.Stopped, nil
}

// end the antlerd. It asks the quorum to wait for its next run when it is told to
// stop.
func end(ctx context.Context, container containerd.Container) error {
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}

	if err != nil {
		return err
	}

	exited, err := task.Wait(ctx)
	if err != nil {
		return err
	}

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		err = task.Kill(ctx, signal)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}

		select {
		case <-exited:
			return nil
		case <-time.After(endTime):
		}
	}

	return fmt.Errorf("it has not ended %s after SIGKILL: it hangs in the kernel, only a reset of the node ends it", endTime)
}

func remove(ctx context.Context, client *containerd.Client, container containerd.Container) error {
	err := containers.DiscardTask(ctx, client, container)
	if err == nil {
		err = container.Delete(ctx)
	}

	if errdefs.IsNotFound(err) {
		return nil
	}

	return err
}

// Exited implements Daemon.
func (d *daemon) Exited() <-chan int { return d.exited }

// Signal implements Daemon.
func (d *daemon) Signal(ctx context.Context, signal syscall.Signal) error {
	err := d.task.Kill(ctx, signal)
	if errdefs.IsNotFound(err) {
		return nil
	}

	return err
}

// Leave implements Daemon. What was logged last is passed on before.
func (d *daemon) Leave() error {
	d.endLog()

	return d.client.Close()
}

// Remove implements Daemon.
func (d *daemon) Remove(ctx context.Context) error {
	_, err := d.task.Delete(ctx, containerd.WithProcessKill)
	if err == nil || errdefs.IsNotFound(err) {
		err = d.container.Delete(ctx)
	}

	return errors.Join(err, d.Leave())
}
