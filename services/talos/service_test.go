package talos_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"antler/services/talos"
)

// fake is a Node whose antlerd ends upon the signals in obeys.
type fake struct {
	fails int
	obeys []syscall.Signal

	mu      sync.Mutex
	starts  int
	got     []syscall.Signal
	removed int
	left    int
	exited  chan int
	running chan struct{}
}

func newFake(obeys ...syscall.Signal) *fake {
	return &fake{obeys: obeys, exited: make(chan int, 1), running: make(chan struct{})}
}

func (f *fake) Start(context.Context) (talos.Daemon, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.starts++
	if f.starts <= f.fails {
		return nil, errors.New("connect to containerd: refused")
	}

	close(f.running)

	return f, nil
}

func (f *fake) Exited() <-chan int { return f.exited }

func (f *fake) Signal(_ context.Context, signal syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.got = append(f.got, signal)

	for _, obeyed := range f.obeys {
		if signal == obeyed {
			f.exited <- 0
		}
	}

	return nil
}

func (f *fake) Remove(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.removed++

	return nil
}

func (f *fake) Leave() error {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.left++

	return nil
}

func service(node talos.Node) *talos.Service {
	return &talos.Service{
		Node: node, Logger: zap.NewNop(), GoesDown: func(context.Context) bool { return true },
		AskTime: time.Millisecond, StopTime: time.Millisecond, RemoveTime: time.Millisecond, RetryInterval: time.Millisecond,
	}
}

func TestAnAntlerdThatEndsEndsTheService(t *testing.T) {
	node := newFake()
	node.exited <- 78

	require.ErrorContains(t, service(node).Run(t.Context()), "antlerd ended with code 78")
	require.Equal(t, 1, node.removed)
	require.Empty(t, node.got)
}

func TestItIsStartedOnceContainerdIsThere(t *testing.T) {
	node := newFake()
	node.fails = 3
	node.exited <- 0

	require.Error(t, service(node).Run(t.Context()))
	require.Equal(t, 4, node.starts)
}

// stopped runs the service until it is told to stop, and returns how it ended.
func stopped(t *testing.T, s *talos.Service, node *fake) error {
	t.Helper()

	ctx, stop := context.WithCancel(t.Context())

	go func() {
		<-node.running
		stop()
	}()

	return s.Run(ctx)
}

func TestOnANodeThatGoesDownAntlerdIsToldAndEnds(t *testing.T) {
	node := newFake(syscall.SIGTERM)
	s := service(node)
	s.StopTime = time.Hour

	require.NoError(t, stopped(t, s, node))
	require.Equal(t, []syscall.Signal{syscall.SIGTERM}, node.got)
	require.Equal(t, 1, node.removed)
}

// What it serves is in order only once it has handed that over.
func TestAnAntlerdThatStillHandsOverIsNotKilled(t *testing.T) {
	node := newFake()

	require.ErrorContains(t, stopped(t, service(node), node), "antlerd has not ended after 1ms, and goes on with it")
	require.Equal(t, []syscall.Signal{syscall.SIGTERM}, node.got)
	require.Zero(t, node.removed)
	require.Equal(t, 1, node.left)
}

func TestOnANodeThatStaysAntlerdRunsOn(t *testing.T) {
	node := newFake(syscall.SIGTERM)
	s := service(node)
	s.GoesDown = func(ctx context.Context) bool { return ctx.Err() != nil }

	require.NoError(t, stopped(t, s, node))
	require.Empty(t, node.got)
	require.Zero(t, node.removed)
	require.Equal(t, 1, node.left)
}

func TestToldToStopWhileContainerdIsNotThere(t *testing.T) {
	node := newFake()
	node.fails = 1 << 30

	ctx, stop := context.WithCancel(t.Context())
	stop()

	require.ErrorContains(t, service(node).Run(ctx), "told to stop before antlerd was started")
}

// TestTheTimesFitIntoWhatTalosGives: SIGKILL comes to the service 10 s after SIGTERM.
func TestTheTimesFitIntoWhatTalosGives(t *testing.T) {
	require.Less(t, talos.AskTime, talos.StopTime)
	require.Less(t, talos.StopTime+talos.RemoveTime, 10*time.Second)
}

func TestAntlerdIsGivenTheNode(t *testing.T) {
	spec := talos.Spec("antlerd", []string{"/usr/bin/antlerd"}, "/var/lib/kubelet")

	require.Len(t, spec.Linux.Namespaces, 1, "its own mounts, and else the node's")
	require.NotContains(t, spec.Process.Capabilities.Bounding, "CAP_SYS_MODULE", "Talos gives it to nobody")
	require.Contains(t, spec.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")

	shared := map[string]bool{}
	for _, m := range spec.Mounts {
		for _, option := range m.Options {
			shared[m.Destination] = shared[m.Destination] || option == "rshared"
		}
	}

	require.True(t, shared["/var/lib/antler"], "a mount has to reach the node, and pods")
	require.True(t, shared["/var/lib/kubelet"])
	require.Equal(t, "/usr/local/lib/containers/antler/usr/lib/antler/rootfs", talos.Places().RootFS)
}
