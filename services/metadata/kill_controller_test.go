package metadata_test

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/authority"
	"antler/services/metadata"
)

// victim is an mfsmaster that lives until it is killed.
type victim struct {
	mu       sync.Mutex
	refusals int
	dead     bool
	killed   chan struct{}
}

func (v *victim) Alive(string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	return !v.dead, nil
}

func (v *victim) Kill(context.Context, string, syscall.Signal) error {
	v.mu.Lock()
	defer v.mu.Unlock()

	if v.refusals > 0 {
		v.refusals--

		return syscall.EAGAIN
	}

	if !v.dead {
		v.dead = true
		close(v.killed)
	}

	return nil
}

func (v *victim) Emit(string, uint64, string) {}

func TestWhatServesWithoutALeaseIsKilled(t *testing.T) {
	for name, tc := range map[string]struct {
		statuses []authority.AuthorityStatusSpec
		refusals int
	}{
		"the lease is lost":                  {[]authority.AuthorityStatusSpec{{LeaseValid: true}, {}}, 0},
		"the last run's lease ends":          {[]authority.AuthorityStatusSpec{{Starting: true}, {}}, 0},
		"it was over when antlerd started":   {[]authority.AuthorityStatusSpec{{}}, 0},
		"the kill has to be tried once more": {[]authority.AuthorityStatusSpec{{LeaseValid: true}, {}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			v := &victim{refusals: tc.refusals, killed: make(chan struct{})}
			st := state.WrapCore(namespaced.NewState(inmem.Build))

			rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
			require.NoError(t, err)
			require.NoError(t, rt.RegisterController(&metadata.KillController{Killer: v, Events: v}))

			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)

			var wg sync.WaitGroup

			wg.Go(func() { _ = rt.Run(ctx) })

			t.Cleanup(func() {
				cancel()
				wg.Wait()
			})

			status := authority.NewAuthorityStatus()
			*status.TypedSpec() = tc.statuses[0]
			require.NoError(t, st.Create(ctx, status))

			for _, next := range tc.statuses[1:] {
				alive, _ := v.Alive("")
				require.True(t, alive, "killed while it may serve")

				_, err = st.UpdateWithConflicts(ctx, status.Metadata(), func(r resource.Resource) error {
					*r.(*authority.AuthorityStatus).TypedSpec() = next

					return nil
				})
				require.NoError(t, err)
			}

			select {
			case <-v.killed:
			case <-ctx.Done():
				require.Fail(t, "it still lives")
			}
		})
	}
}
