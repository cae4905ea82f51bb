package containers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
)

// Namespace is ours in containerd.
const Namespace = "antler"

const runcRuntime = "io.containerd.runc.v2"

// Labels of a container, with which a later antlerd knows what it finds.
const (
	// labelName is the name it runs under, which is not always its id: see slots.
	labelName       = "antler/name"
	labelDigest     = "antler/digest"
	labelGeneration = "antler/generation"
	// labelShared lists the mounts that it may leave behind, separated by ":".
	labelShared = "antler/shared"
)

const (
	// reconnectDelay bounds how long after containerd's return we notice it.
	reconnectDelay = time.Second
	// greetTimeout ends a connection that containerd has taken and says nothing on.
	greetTimeout = 20 * time.Second
	// killDeadline is for a process that got SIGKILL: only one that hangs in
	// the kernel takes longer, and no call of ours can help it.
	killDeadline = 5 * time.Second
	// exitCodeDeadline: what ended has ended, even if containerd can't tell
	// the code.
	exitCodeDeadline = 2 * time.Second
)

// Containerd is the real Runtime and Killer.
type Containerd struct {
	client *containerd.Client
	places Places
	live   instances
	spares spares
}

// NewContainerd returns the runtime behind containerd's socket. It succeeds
// while containerd is down; the calls fail until it is up.
func NewContainerd(socket string, places Places) (*Containerd, error) {
	client, err := Connect(socket, Namespace)
	if err != nil {
		return nil, err
	}

	return &Containerd{client: client, places: places}, nil
}

// Connect to containerd's socket. A containerd that is down is tried again within a
// second. One that has just begun takes a busy machine longer than that to greet.
func Connect(socket, namespace string) (*containerd.Client, error) {
	retry := grpcbackoff.DefaultConfig
	retry.MaxDelay = reconnectDelay

	client, err := containerd.New(socket, containerd.WithDefaultNamespace(namespace),
		containerd.WithExtraDialOpts([]grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: greetTimeout}),
			// It waits for a socket that isn't there.
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, reconnectDelay)
				defer cancel()

				return dialer.ContextDialer(ctx, address)
			}),
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", socket, err)
	}

	return client, nil
}

// Close ends the connection; the containers go on.
func (c *Containerd) Close() error { return c.client.Close() }

// slots are the ids that a container of this name can have in containerd: while
// one of them runs, the other may be its spare.
func slots(name string) []string { return []string{name, name + ".b"} }

// Names implements Runtime.
func (c *Containerd) Names(ctx context.Context) ([]string, error) {
	list, err := c.client.Containers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}

	names := map[string]bool{}

	for _, container := range list {
		labels, err := container.Labels(ctx)
		if err != nil {
			return nil, fmt.Errorf("read labels: %w", err)
		}

		names[cmp.Or(labels[labelName], container.ID())] = true
	}

	return slices.Collect(maps.Keys(names)), nil
}

// Find implements Runtime.
func (c *Containerd) Find(ctx context.Context, name string) (*Task, error) {
	var found *Task

	for _, id := range slots(name) {
		task, err := c.look(ctx, name, id)
		if err != nil {
			return nil, err
		}

		if task != nil && found != nil {
			return nil, fmt.Errorf("processes %d and %d both run: %w", found.PID, task.PID, errdefs.ErrFailedPrecondition)
		}

		if task != nil {
			found = task
		}
	}

	return found, nil
}

// look into one slot: what runs is returned; the leftovers of a dead task are
// deleted, and so is a spare that an earlier run of antlerd made.
func (c *Containerd) look(ctx context.Context, name, id string) (*Task, error) {
	if s := c.spares.get(name); s != nil && s.id == id {
		return nil, nil
	}

	container, err := c.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}

	if err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}

	labels, err := container.Labels(ctx)
	if err != nil {
		return nil, fmt.Errorf("read labels: %w", err)
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

	waited, err := c.places.dismiss(id)
	if err != nil {
		return nil, err
	}

	if waited || status.Status != containerd.Running {
		return nil, c.discard(ctx, container)
	}

	return c.watched(task, c.hold(name, id, int(task.Pid())), labels), nil
}

// watched makes a Task of ours of containerd's.
func (c *Containerd) watched(task containerd.Task, p *process, labels map[string]string) *Task {
	generation, _ := strconv.ParseUint(labels[labelGeneration], 10, 64)
	exited, code := make(chan struct{}), make(chan int, 1)

	go func() {
		if p != nil {
			<-p.done
			close(exited)
		}

		code <- exitCode(task, p != nil)

		if p == nil {
			close(exited)
		}
	}()

	return &Task{
		PID: int(task.Pid()), Digest: labels[labelDigest], Generation: generation, Exited: exited, ExitCode: code,
	}
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

	return ExitCode(ctx, task)
}

// ExitCode waits for the end of a task, through restarts of containerd, and
// returns its exit code; -1 if nobody can tell it, or ctx has ended before.
func ExitCode(ctx context.Context, task containerd.Task) int {
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
// antlerd has a PID namespace of its own and doesn't see it.
func (c *Containerd) hold(name, id string, pid int) *process {
	have := c.live.get(name).process
	if have != nil && have.pid == pid && have.alive() {
		return have
	}

	p, err := openProcess(pid, c.places.CgroupParent+"/"+id)
	if err != nil {
		p = nil
	}

	c.live.put(name, instance{id: id, process: p})

	return p
}
