package volume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/metadata"
)

// fakeStore notes when it was asked to do what.
type fakeStore struct {
	mu      sync.Mutex
	log     []string
	start   time.Time
	missing bool
	purged  Purged
	broken  error
}

func (s *fakeStore) note(what string) {
	s.log = append(s.log, fmt.Sprintf("%s %s", time.Since(s.start), what))
}

func (s *fakeStore) Prepare(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.note("prepare")

	if s.missing {
		return ErrUnavailable
	}

	return nil
}

func (s *fakeStore) Purge(context.Context) (Purged, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.note("purge")

	return s.purged, s.broken
}

func (s *fakeStore) Emit(kind string, epoch uint64, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.note(fmt.Sprintf("%s@%d: %s", kind, epoch, message))
}

// next says what the following calls find.
func (s *fakeStore) next(missing bool, purged Purged, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.missing, s.purged, s.broken = missing, purged, broken
}

// take returns the log and empties it.
func (s *fakeStore) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()

	log := s.log
	s.log = nil

	return log
}

func TestPurgeControllerWorksWhereTheMasterServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{start: time.Now(), missing: true}
		st := state.WrapCore(namespaced.NewState(inmem.Build))

		rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
		require.NoError(t, err)
		require.NoError(t, rt.RegisterController(&PurgeController{Store: store, Events: store}))

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)

		go func() { done <- rt.Run(ctx) }()

		defer func() {
			cancel()
			assert.NoError(t, <-done)
		}()

		master := metadata.NewMasterStatus()
		master.TypedSpec().Phase, master.TypedSpec().Epoch = metadata.PhaseStarting, 5
		require.NoError(t, st.Create(ctx, master))

		set := func(change func(*metadata.MasterStatusSpec)) {
			_, err := st.UpdateWithConflicts(ctx, master.Metadata(), func(r resource.Resource) error {
				change(r.(*metadata.MasterStatus).TypedSpec())

				return nil
			})
			require.NoError(t, err)
			synctest.Wait()
		}
		sleep := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}

		sleep(time.Second)
		require.Empty(t, store.take(), "nothing serves here")

		set(func(s *metadata.MasterStatusSpec) { s.Phase, s.Answering = metadata.PhaseServing, true })
		require.Equal(t, []string{"1s prepare"}, store.take())

		store.next(false, Purged{Volumes: []string{"web@20251120T120000Z~20251120T120000Z"}, More: true}, nil)

		sleep(2 * time.Second)
		require.Equal(t, []string{
			"3s prepare", "3s purge", "3s volume.expired@5: deleted volume web is gone for good, its time was over",
		}, store.take(), "the mount is there now")

		store.next(false, Purged{}, errors.New("something is in the way"))

		set(func(s *metadata.MasterStatusSpec) { s.Chunks = 7 })
		require.Empty(t, store.take(), "a change of the status is no reason")

		sleep(2 * time.Second)
		require.Equal(t, []string{"5s prepare", "5s purge"}, store.take(), "the rest")

		sleep(PurgeInterval)
		require.Equal(t, []string{"10m5s prepare", "10m5s purge"}, store.take())

		set(func(s *metadata.MasterStatusSpec) { s.Phase = metadata.PhaseStopping })
		sleep(2 * PurgeInterval)
		require.Empty(t, store.take(), "another node's business now")
	})
}
