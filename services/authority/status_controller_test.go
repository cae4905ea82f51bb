package authority_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/authority"
)

// recorder is an event log.
type recorder struct {
	mu    sync.Mutex
	kinds []string
}

func (r *recorder) Emit(kind string, _ uint64, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.kinds = append(r.kinds, kind)
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()

	return append([]string(nil), r.kinds...)
}

// TestStatusFollowsTheLease: the status resource shows the lease when it comes,
// and its loss when it happens, although nobody answers any more.
func TestStatusFollowsTheLease(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	var events recorder

	st := serveStatus(t, &authority.StatusController{Authority: c.nodes["n1"].Authority, Events: &events})
	ctx := c.ctx()

	rtestutils.AssertResource(ctx, t, st, authority.AuthorityStatusID, func(r *authority.AuthorityStatus, assert *assert.Assertions) {
		assert.True(r.TypedSpec().LeaseValid)
		assert.True(r.TypedSpec().MayServe())
		assert.Equal("n1", r.TypedSpec().Holder)
		assert.Equal(3, len(r.TypedSpec().Members))
	})
	rtestutils.AssertResources(ctx, t, st, []resource.ID{"n1", "n2", "n3"}, func(r *authority.NodeReport, assert *assert.Assertions) {
		assert.True(r.TypedSpec().Alive)
	})

	c.network.isolate("n1", true)

	before := time.Now()

	rtestutils.AssertResource(ctx, t, st, authority.AuthorityStatusID, func(r *authority.AuthorityStatus, assert *assert.Assertions) {
		assert.False(r.TypedSpec().LeaseValid)
		assert.False(r.TypedSpec().HaveQuorum)
		assert.Contains(r.TypedSpec().Reason, "no quorum")
	})
	require.Less(t, time.Since(before), testTiming().LeaseTTL+testTiming().ClockMargin)
	require.Contains(t, events.seen(), "authority.lease-lost")
	require.Contains(t, events.seen(), "authority.quorum-lost")
}

// serveStatus runs the controller on an in-memory state.
func serveStatus(t *testing.T, c *authority.StatusController) state.State {
	t.Helper()

	st := state.WrapCore(namespaced.NewState(inmem.Build))
	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, rt.RegisterController(c))

	ctx, cancel := context.WithCancel(context.Background())

	var wg sync.WaitGroup

	wg.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Errorf("run the controllers: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})

	return st
}
