package metadata

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
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/metadata/files"
)

// fakeBackups notes when they are made, and fails or hangs as told.
type fakeBackups struct {
	mu     sync.Mutex
	start  time.Time
	newest time.Time
	err    error
	hang   bool
	log    []string
}

func (f *fakeBackups) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.log = append(f.log, fmt.Sprintf("%s ", time.Since(f.start))+fmt.Sprintf(format, args...))
}

func (f *fakeBackups) Newest() (time.Time, error) { return f.newest, nil }

func (f *fakeBackups) Make(ctx context.Context, version uint64) (files.Source, error) {
	f.note("make %d", version)

	if f.hang {
		<-ctx.Done()
		f.note("ended: %v", ctx.Err())

		return files.Source{}, ctx.Err()
	}

	f.mu.Lock()
	defer f.mu.Unlock()

	return files.Source{Name: "n1/backup-x", Version: version}, f.err
}

func (f *fakeBackups) fails(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.err = err
}

func (f *fakeBackups) Emit(kind string, epoch uint64, message string) {
	f.note("%s@%d: %s", kind, epoch, message)
}

// backupTest is the controller on a node whose master can be changed.
type backupTest struct {
	*testing.T

	fake  *fakeBackups
	state state.State
}

func onBackups(t *testing.T, run func(*backupTest)) {
	t.Helper()

	synctest.Test(t, func(t *testing.T) {
		b := &backupTest{T: t, fake: &fakeBackups{start: time.Now()}, state: state.WrapCore(namespaced.NewState(inmem.Build))}

		rt, err := runtime.NewRuntime(b.state, zaptest.NewLogger(t))
		require.NoError(t, err)
		require.NoError(t, rt.RegisterController(&BackupController{Backups: b.fake, Every: time.Hour, Events: b.fake, Now: time.Now}))
		require.NoError(t, b.state.Create(t.Context(), NewMasterStatus()))

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)

		go func() { done <- rt.Run(ctx) }()

		defer func() {
			cancel()
			assert.NoError(t, <-done)
		}()

		run(b)
	})
}

func (b *backupTest) master(phase Phase, version uint64) {
	b.Helper()

	_, err := b.state.UpdateWithConflicts(b.Context(), NewMasterStatus().Metadata(), func(r resource.Resource) error {
		*r.(*MasterStatus).TypedSpec() = MasterStatusSpec{Phase: phase, Epoch: 5, MetaVersion: version}

		return nil
	})
	require.NoError(b, err)
	synctest.Wait()
}

func (b *backupTest) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// happened returns what was noted since it was last asked.
func (b *backupTest) happened() []string {
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()

	log := b.fake.log
	b.fake.log = nil

	return log
}

func (b *backupTest) status() BackupStatusSpec {
	b.Helper()

	status, err := safe.StateGetByID[*BackupStatus](b.Context(), b.state, BackupStatusID)
	require.NoError(b, err)

	return *status.TypedSpec()
}

func TestBackupsAreMadeWhereTheMasterServes(t *testing.T) {
	onBackups(t, func(b *backupTest) {
		b.master(PhaseStarting, 0)
		b.pass(3 * time.Hour)
		require.Empty(b, b.happened(), "nothing serves here")

		b.master(PhaseServing, 7)
		b.pass(backupSettle - time.Second)
		b.master(PhaseServing, 8)
		require.Empty(b, b.happened(), "clients come first")

		b.pass(time.Second)
		require.Equal(b, []string{"3h0m30s make 8", "3h0m30s metadata.backed-up@5: n1/backup-x reaches version 8"}, b.happened())

		b.master(PhaseServing, 9)
		b.pass(59 * time.Minute)
		require.Empty(b, b.happened())

		b.pass(time.Minute)
		require.Equal(b, []string{"4h0m30s make 9", "4h0m30s metadata.backed-up@5: n1/backup-x reaches version 9"}, b.happened())
		require.Equal(b, BackupStatusSpec{Last: b.fake.start.Add(4*time.Hour + 30*time.Second), Next: b.fake.start.Add(5*time.Hour + 30*time.Second)}, b.status())

		b.master(PhaseStopping, 9)
		b.pass(5 * time.Hour)
		require.Empty(b, b.happened(), "another node's business now")
		require.Zero(b, b.status().Next)
	})
}

func TestBackupsGoOnWhereTheLastRunEnded(t *testing.T) {
	for name, tc := range map[string]struct {
		age  time.Duration
		want string
	}{
		"one is due in a while":         {20 * time.Minute, "40m0s make 7"},
		"one is overdue":                {5 * time.Hour, "30s make 7"},
		"one from a clock that was off": {-24 * time.Hour, "30s make 7"},
	} {
		t.Run(name, func(t *testing.T) {
			onBackups(t, func(b *backupTest) {
				b.fake.newest = b.fake.start.Add(-tc.age)
				b.master(PhaseServing, 7)
				b.pass(45 * time.Minute)
				require.Equal(b, tc.want, b.happened()[0])
			})
		})
	}
}

func TestABackupThatFailsIsAProblemUntilOneSucceeds(t *testing.T) {
	onBackups(t, func(b *backupTest) {
		b.fake.fails(errors.New("the disk is full"))
		b.master(PhaseServing, 7)
		b.pass(backupSettle)
		require.Equal(b, []string{"30s make 7", "30s metadata.backup-failed@5: the disk is full"}, b.happened())
		require.Equal(b, "the disk is full", b.status().Error)
		require.Zero(b, b.status().Last)

		b.pass(backupRetry)
		require.Equal(b, []string{"5m30s make 7"}, b.happened(), "the event is told once")

		b.fake.fails(nil)

		b.pass(backupRetry)
		require.Equal(b, []string{"10m30s make 7", "10m30s metadata.backed-up@5: n1/backup-x reaches version 7"}, b.happened())
		require.Empty(b, b.status().Error)
	})
}

func TestABackupEndsWithTheMaster(t *testing.T) {
	onBackups(t, func(b *backupTest) {
		b.fake.hang = true
		b.master(PhaseServing, 7)
		b.pass(backupSettle + time.Minute)
		require.Equal(b, []string{"30s make 7"}, b.happened())

		b.master(PhaseStopping, 7)
		require.Equal(b, []string{"1m30s ended: context canceled"}, b.happened())
		require.Equal(b, BackupStatusSpec{}, b.status(), "nobody failed")

		b.master(PhaseServing, 7)
		b.pass(backupSettle + backupPatience)
		require.Equal(b, []string{"2m0s make 7", "32m0s ended: context deadline exceeded", "32m0s metadata.backup-failed@5: context deadline exceeded"}, b.happened())
	})
}
