package node_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/authority"
	"antler/services/containers"
	"antler/services/node"
)

// machine is a node on which mfsmaster runs as process 7 and can't be stopped.
type machine struct {
	until   func() time.Time
	guarded func() (time.Time, bool)
	// fails is what an attempt to reset the machine does.
	fails      error
	told       chan string
	reset, fed chan struct{}
}

// Emit implements node.Events. It never holds the controller up.
func (m *machine) Emit(kind string, _ uint64, _ string) { _ = signal(m.told, kind) }

// run has the controller look after a node whose StatusController hangs: the
// resource says for ever that the lease is valid.
func (m *machine) run(t *testing.T) {
	t.Helper()

	m.told, m.reset, m.fed = make(chan string, 9), make(chan struct{}, 9), make(chan struct{}, 9)

	st := state.WrapCore(namespaced.NewState(inmem.Build))
	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, rt.RegisterController(&node.FenceController{
		Master: "mfsmaster", MayServeUntil: m.until, GuardedUntil: m.guard, Deadline: 30 * time.Millisecond, Tell: time.Millisecond, FeedInterval: 20 * time.Millisecond,
		Feed:  func() error { return signal(m.fed, struct{}{}) },
		Reset: func() error { return errors.Join(signal(m.reset, struct{}{}), m.fails) }, Events: m, Now: time.Now, CanAnswer: func(pid int) bool { return pid == 7 },
	}))

	stale := authority.NewAuthorityStatus()
	stale.TypedSpec().LeaseValid = true
	require.NoError(t, st.Create(t.Context(), stale))

	master := containers.NewContainerStatus("mfsmaster")
	master.TypedSpec().PID = 7
	require.NoError(t, st.Create(t.Context(), master))

	ctx, cancel := context.WithCancel(context.Background())

	var wg sync.WaitGroup

	wg.Go(func() { _ = rt.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// guard is GuardedUntil; a machine gives no word unless a test says so.
func (m *machine) guard() (time.Time, bool) {
	if m.guarded == nil {
		return time.Time{}, false
	}

	return m.guarded()
}

// signal sends unless nobody has looked for long.
func signal[T any](to chan<- T, what T) error {
	select {
	case to <- what:
	default:
	}

	return nil
}

func TestALeaseThatEndsCostsTheNodeWhateverTheResourceSays(t *testing.T) {
	end := time.Now().Add(50 * time.Millisecond)
	m := &machine{until: func() time.Time { return end }}
	m.run(t)

	require.Equal(t, "node.fence", <-m.told)
	<-m.reset
	require.GreaterOrEqual(t, time.Since(end), 30*time.Millisecond)
}

func TestAWordToTheQuorumThatComesDueCostsTheNode(t *testing.T) {
	due := time.Now().Add(50 * time.Millisecond)
	m := &machine{
		until:   func() time.Time { return time.Now().Add(time.Hour) },
		guarded: func() (time.Time, bool) { return due, true },
	}
	m.run(t)

	require.Equal(t, "node.fence", <-m.told)
	<-m.reset
	require.False(t, time.Now().Before(due))
}

func TestANodeThatCannotBeResetLeavesTheWatchdogHungry(t *testing.T) {
	m := &machine{
		until:   func() time.Time { return time.Now().Add(time.Hour) },
		guarded: func() (time.Time, bool) { return time.Time{}, true },
		fails:   errReset,
	}
	m.run(t)

	<-m.reset

	select {
	case <-m.fed:
		require.Fail(t, "the watchdog was fed")
	case <-time.After(100 * time.Millisecond): // five times its interval
	}
}

var errReset = errors.New("no sysrq here")

func TestAnAuthorityThatHangsLeavesTheWatchdogHungry(t *testing.T) {
	asked, hangs := make(chan struct{}, 9), make(chan struct{})
	m := &machine{until: func() time.Time {
		_ = signal(asked, struct{}{})
		<-hangs

		return time.Time{}
	}}
	m.run(t)
	t.Cleanup(func() { close(hangs) })

	<-asked

	select {
	case <-m.fed:
		require.Fail(t, "the watchdog was fed")
	case <-time.After(100 * time.Millisecond): // five times its interval
	}
}
