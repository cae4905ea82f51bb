package containers

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
)

// Namespace is ours in containerd.
const Namespace = "antler"

const runcRuntime = "io.containerd.runc.v2"

// Labels of a container, with which a later antlerd knows what it finds.
const (
	labelDigest     = "antler/digest"
	labelGeneration = "antler/generation"
	// labelShared lists the mounts that it may leave behind, separated by ":".
	labelShared = "antler/shared"
)

const (
	// reconnectDelay bounds how long after containerd's return we notice it.
	reconnectDelay = time.Second
	// killDeadline is for a process that got SIGKILL: only one that hangs in
	// the kernel takes longer, and no call of ours can help it.
	killDeadline = 5 * time.Second
	// exitCodeDeadline: what ended has ended, even if containerd can't tell
	// the code.
	exitCodeDeadline = 2 * time.Second
)

// Containerd is the real Runtime and Killer.
type Containerd struct {
	client    *containerd.Client
	places    Places
	processes processes
}

// NewContainerd returns the runtime behind containerd's socket. It succeeds
// while containerd is down; the calls fail until it is up.
func NewContainerd(socket string, places Places) (*Containerd, error) {
	client, err := containerd.New(socket,
		containerd.WithDefaultNamespace(Namespace), containerd.WithTimeout(reconnectDelay))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", socket, err)
	}

	return &Containerd{client: client, places: places, processes: processes{byName: map[string]*process{}}}, nil
}

// Close ends the connection; the containers go on.
func (c *Containerd) Close() error { return c.client.Close() }

// Names implements Runtime.
func (c *Containerd) Names(ctx context.Context) ([]string, error) {
	list, err := c.client.Containers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}

	var names []string

	for _, container := range list {
		names = append(names, container.ID())
	}

	return names, nil
}

// Find implements Runtime.
func (c *Containerd) Find(ctx context.Context, name string) (*Task, error) {
	container, err := c.client.LoadContainer(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}

	if err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}

	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, c.discard(ctx, container)
	}

	if err != nil {
		return nil, fmt.Errorf("load task: %w", err)
	}

	status, err := task.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the task's status: %w", err)
	}

	if status.Status != containerd.Running {
		return nil, c.discard(ctx, container)
	}

	labels, err := container.Labels(ctx)
	if err != nil {
		return nil, fmt.Errorf("read labels: %w", err)
	}

	return c.watched(task, c.hold(name, int(task.Pid())), labels), nil
}

// watched makes a Task of ours of containerd's.
func (c *Containerd) watched(task containerd.Task, p *process, labels map[string]string) *Task {
	generation, _ := strconv.ParseUint(labels[labelGeneration], 10, 64)
	exited := make(chan int, 1)

	go func() {
		if p != nil {
			<-p.done
		}

		exited <- exitCode(task, p != nil)
	}()

	return &Task{PID: int(task.Pid()), Digest: labels[labelDigest], Generation: generation, Exited: exited}
}

// exitCode asks containerd for the exit code. When the end has been seen
// already, containerd gets a deadline to tell the code; otherwise this is how
// the end is waited for, through containerd's own restarts.
func exitCode(task containerd.Task, ended bool) int {
	ctx, cancel := context.WithCancel(context.Background())
	if ended {
		ctx, cancel = context.WithTimeout(context.Background(), exitCodeDeadline)
	}

	defer cancel()

	for {
		waiting, err := task.Wait(ctx)
		if err == nil {
			status := <-waiting
			if status.Error() == nil {
				return int(status.ExitCode())
			}

			err = status.Error()
		}

		if errdefs.IsNotFound(err) {
			return unknownExitCode
		}

		select {
		case <-ctx.Done():
			return unknownExitCode
		case <-time.After(reconnectDelay):
		}
	}
}

const unknownExitCode = -1

// hold opens a handle on the first process of a container, or returns the one
// there is. It returns nil where there can't be one: the process has ended, or
// antlerd lives in a PID namespace of its own (Talos) and doesn't see it.
func (c *Containerd) hold(name string, pid int) *process {
	have := c.processes.get(name)
	if have != nil && have.pid == pid && have.alive() {
		return have
	}

	p, err := openProcess(pid, c.places.CgroupParent+"/"+name)
	if err != nil {
		return nil
	}

	c.processes.put(name, p)

	return p
}

// Start implements Runtime.
func (c *Containerd) Start(ctx context.Context, name string, spec ContainerSpecSpec) (*Task, error) {
	err := c.vacant(ctx, name)
	if err != nil {
		return nil, err
	}

	err = c.prepare(name, spec)
	if err != nil {
		return nil, err
	}

	labels := map[string]string{
		labelDigest:     Digest(spec),
		labelGeneration: strconv.FormatUint(spec.Generation, 10),
		labelShared:     strings.Join(sharedPaths(spec), ":"),
	}

	container, err := c.client.NewContainer(ctx, name,
		containerd.WithRuntime(runcRuntime, nil),
		containerd.WithSpec(ociSpec(name, spec, c.places)),
		containerd.WithContainerLabels(labels))
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}

	task, err := container.NewTask(ctx, cio.LogFile(c.places.log(name)))
	if err != nil {
		return nil, fmt.Errorf("create task: %w", err)
	}

	// Before the program runs, so that Kill finds it from its first moment.
	p := c.hold(name, int(task.Pid()))

	err = task.Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start %v: %w", spec.Args, err)
	}

	return c.watched(task, p, labels), nil
}

// vacant makes sure that nothing lives under the name: neither for containerd
// nor, should it have forgotten, for the kernel.
func (c *Containerd) vacant(ctx context.Context, name string) error {
	task, err := c.Find(ctx, name)
	if err != nil {
		return err
	}

	if task != nil {
		return fmt.Errorf("process %d still runs: %w", task.PID, errdefs.ErrAlreadyExists)
	}

	return c.empty(ctx, name)
}

// prepare makes what the container finds on the host.
func (c *Containerd) prepare(name string, spec ContainerSpecSpec) error {
	err := writeEtc(c.places.etc(name), spec.Files)
	if err != nil {
		return err
	}

	err = os.MkdirAll(c.places.LogDir(), 0o700)
	if err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}

	for _, path := range sharedPaths(spec) {
		err = shareMountpoint(path)
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
