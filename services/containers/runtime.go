package containers

import (
	"context"
	"syscall"
	"time"
)

// Runtime is what Controller needs of containerd. Every call may fail because
// containerd is down, and may be repeated.
type Runtime interface {
	// Names lists the containers that exist, running or not.
	Names(ctx context.Context) ([]string, error)
	// Find returns the live task called name, or nil when there is none.
	// Leftovers of a dead one are deleted.
	Find(ctx context.Context, name string) (*Task, error)
	// Start starts the container: its spare if there is one of this spec. It
	// fails when one is still alive.
	Start(ctx context.Context, name string, spec ContainerSpecSpec) (*Task, error)
	// Prepare makes the spare that the next Start takes. One that is there is
	// left alone if it is of this spec, and replaced if not.
	Prepare(ctx context.Context, name string, spec ContainerSpecSpec) error
	// Stop ends the container's processes with signal, after timeout with
	// SIGKILL. Nothing to stop is no error.
	Stop(ctx context.Context, name string, signal syscall.Signal, timeout time.Duration) error
	// Delete deletes what is left of a stopped container. Its spare stays.
	// Nothing to delete is no error.
	Delete(ctx context.Context, name string) error
	// RemoveSpare deletes the spare, if there is one.
	RemoveSpare(ctx context.Context, name string) error
}

// Killer ends a process at once, without containerd and without waiting for a
// reconcile. Nobody there to be killed is no error.
type Killer interface {
	Kill(ctx context.Context, name string, signal syscall.Signal) error
}

// Task is a live process.
type Task struct {
	// PID on the host of the first process of the container.
	PID int
	// Digest and Generation of the spec it was started with.
	Digest     string
	Generation uint64
	// Exited is closed when the process has ended.
	Exited <-chan struct{}
	// ExitCode gives the exit code once, which may take longer to know; -1 when
	// nobody can tell it any more.
	ExitCode <-chan int
}
