package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
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
	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/metadata/files"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/replication"
)

// machine is everything around the controller, and remembers what was done.
type machine struct {
	mu         sync.Mutex
	filesystem bool
	mounted    bool
	stored     files.Stored
	sick       error
	// filled is how much of 1 GiB is in use, and expendable how much of that can go.
	filled, expendable uint64
	silent             bool
	// mended is what was wrong with the metadata.
	mended string
	// noCopy: a restore has staged nothing here.
	noCopy bool
	// alive: a process of mfsmaster is there.
	alive        bool
	chunkservers int
	// jammed is why the door can't be opened.
	jammed error
	// unheard: containerd tells of no end.
	unheard bool
	// hurried: a minute passes whenever the controller looks.
	hurried bool
	// slow: it is at work though it is silent.
	slow  bool
	lossy bool
	// afterRestart of antlerd: what runs is not known yet.
	afterRestart bool
	// ahead is by how much its clock is later.
	ahead  time.Duration
	looked uint64
	// passes of the controller.
	passes  int
	done    []string
	version uint64
	ctx     context.Context
	state   state.State
}

func (m *machine) did(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.done = append(m.done, what)
}

func (m *machine) was(what string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()

	for _, done := range m.done {
		if done == what {
			return true
		}
	}

	return false
}

// only returns which of these were done, in order.
func (m *machine) only(these ...string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()

	var out []string

	for _, done := range m.done {
		if slices.Contains(these, done) {
			out = append(out, done)
		}
	}

	return out
}

func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()

	change()
}

func (m *machine) HasFileSystem(string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.filesystem, nil
}

func (m *machine) Format(context.Context, string) error {
	m.did("format")
	m.set(func() { m.filesystem = true })

	return nil
}

func (m *machine) Mount(context.Context, string) error {
	m.did("mount")
	m.set(func() { m.mounted = true })

	return nil
}

func (m *machine) Mounted() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.passes++

	return m.mounted, nil
}

func (m *machine) Prepare(empty bool) error {
	m.did("prepare")

	if empty {
		m.set(func() { m.stored = files.Stored{New: true} })
	}

	return nil
}

func (m *machine) Mend() (string, error) {
	m.did("mend")

	return m.mended, nil
}

func (m *machine) Install(want files.Stored) error {
	m.did(fmt.Sprintf("install %d", want.Version))

	if m.noCopy {
		return errors.New("there is no copy")
	}

	m.set(func() { m.stored = want })

	return nil
}

func (m *machine) Stored() (files.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.stored, nil
}

func (m *machine) LastTime() (time.Time, error) { return time.Unix(1000, 0), nil }

func (m *machine) MakeRoom() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.filled == 0 || m.expendable == 0 {
		return "", nil
	}

	m.filled -= m.expendable
	m.expendable = 0

	return "a copy", nil
}

func (m *machine) heard(whose string, at time.Time) {
	m.did(fmt.Sprintf("heard of %s: %d", whose, at.Unix()))
}

func (m *machine) Healthy() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	return 1<<30 - m.filled, m.sick
}

func (m *machine) Unmount(context.Context) error {
	m.did("unmount")
	m.set(func() { m.mounted = false })

	return nil
}

func (m *machine) Probe(context.Context) (metadata.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.silent {
		return metadata.Info{}, errors.New("no answer")
	}

	return metadata.Info{Version: "4.57.5", MetaVersion: m.version, MetadataID: 7, Chunkservers: m.chunkservers}, nil
}

func (m *machine) Save(context.Context) error {
	m.did("save")

	return nil
}

func (m *machine) Open() error {
	m.did("open")

	m.mu.Lock()
	defer m.mu.Unlock()

	return m.jammed
}

func (m *machine) Hold() error {
	m.did("hold")

	return nil
}

func (m *machine) Close() error {
	m.did("close")

	return nil
}

func (m *machine) Alive(string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.alive, nil
}

func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.hurried {
		m.ahead += time.Minute
	}

	return time.Now().Add(m.ahead)
}

func (m *machine) activity(int) node.Activity {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.looked++

	a := node.Activity{At: time.Now(), State: "S"}
	if m.slow {
		a.Turns, a.Waited = m.looked, time.Duration(m.looked)*time.Hour
	}

	return a
}

func (m *machine) Kill(context.Context, string, syscall.Signal) error {
	m.did("kill")

	m.mu.Lock()
	unheard := m.unheard
	m.mu.Unlock()

	if unheard {
		return nil
	}

	return m.running(false)
}

func (m *machine) Emit(kind string, _ uint64, _ string) { m.did(kind) }

// running reports the container as the containers service would.
func (m *machine) running(running bool) error {
	return m.report(func(s *containers.ContainerStatusSpec, asked uint64) {
		s.Running, s.PID, s.Digest = running, 100, "d"

		if running {
			s.Generation, s.Standby = asked, false
		}
	})
}

// report changes the container's status; asked is the generation of its spec.
func (m *machine) report(change func(s *containers.ContainerStatusSpec, asked uint64)) error {
	spec, err := m.state.Get(m.ctx, containers.NewContainerSpec(metadata.Container).Metadata())

	var asked uint64
	if err == nil {
		asked = spec.(*containers.ContainerSpec).TypedSpec().Generation
	}

	status := containers.NewContainerStatus(metadata.Container)

	_, err = m.state.Get(m.ctx, status.Metadata())
	if state.IsNotFoundError(err) {
		err = m.state.Create(m.ctx, status)
	}

	if err != nil {
		return err
	}

	_, err = m.state.UpdateWithConflicts(m.ctx, status.Metadata(), func(r resource.Resource) error {
		change(r.(*containers.ContainerStatus).TypedSpec(), asked)

		return nil
	}, state.WithUpdateOwner(""))

	return err
}

func start(t *testing.T, m *machine) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	m.ctx, m.state = ctx, state.WrapCore(namespaced.NewState(inmem.Build))

	timing := authority.DefaultTiming()
	timing.ProbeInterval, timing.SettleTime, timing.DrainTime = 5*time.Millisecond, time.Millisecond, time.Millisecond

	r, err := runtime.NewRuntime(m.state, zaptest.NewLogger(t))
	require.NoError(t, err)
	cfg := &config.Config{}
	if m.lossy {
		cfg.Cluster.Storage.Durability = config.DurabilityLoseSecondsOnPowerCut
	}

	require.NoError(t, m.state.Create(ctx, node.NewNodeConfig(cfg)))

	inventory := containers.NewInventory()
	inventory.TypedSpec().Complete = !m.afterRestart
	require.NoError(t, m.state.Create(ctx, inventory))

	require.NoError(t, r.RegisterController(&metadata.MasterController{
		Disk: m, Prober: m, Killer: m, Events: m, Timing: timing, Now: m.now, Activity: m.activity, Heard: m.heard,
		Reachable: func() bool { return false }, Door: m,
	}))

	var running sync.WaitGroup

	running.Go(func() { assert.NoError(t, r.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func (m *machine) want(t *testing.T, want metadata.MasterSpecSpec) {
	t.Helper()

	spec := metadata.NewMasterSpec()

	_, err := m.state.Get(m.ctx, spec.Metadata())
	if state.IsNotFoundError(err) {
		*spec.TypedSpec() = want
		require.NoError(t, m.state.Create(m.ctx, spec))

		return
	}

	_, err = m.state.UpdateWithConflicts(m.ctx, spec.Metadata(), func(r resource.Resource) error {
		*r.(*metadata.MasterSpec).TypedSpec() = want

		return nil
	})
	require.NoError(t, err)
}

func (m *machine) becomes(t *testing.T, check func(*metadata.MasterStatusSpec, *assert.Assertions)) {
	t.Helper()

	rtestutils.AssertResource(m.ctx, t, m.state, metadata.MasterStatusID, func(r *metadata.MasterStatus, a *assert.Assertions) {
		check(r.TypedSpec(), a)
	})
}

// started waits until the container of the generation is asked for, and reports
// it as running.
func (m *machine) started(t *testing.T, generation uint64) {
	t.Helper()

	m.askedFor(t, generation)
	require.NoError(t, m.running(true))
}

func (m *machine) askedFor(t *testing.T, generation uint64) {
	t.Helper()

	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.Equal(generation, r.TypedSpec().Generation)
		a.False(r.TypedSpec().Stopped)
	})
}

// busy reports that containerd is at work for the container, or no longer, and waits
// until that is seen.
func (m *machine) busy(t *testing.T, busy bool) {
	t.Helper()

	require.NoError(t, m.report(func(s *containers.ContainerStatusSpec, _ uint64) { s.Busy = busy }))
	m.looksAgain(t)
}

// looksAgain waits until the controller has read everything anew: a pass may have
// begun before.
func (m *machine) looksAgain(t *testing.T) {
	t.Helper()

	m.mu.Lock()
	before := m.passes
	m.mu.Unlock()

	require.Eventually(t, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()

		return m.passes >= before+2
	}, 10*time.Second, time.Millisecond)
}

// standsBy waits until the container is asked to stop, and reports that it has.
func (m *machine) standsBy(t *testing.T, generation uint64) {
	t.Helper()

	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.Equal(generation, r.TypedSpec().Generation)
		a.True(r.TypedSpec().Stopped)
	})
	require.NoError(t, m.report(func(s *containers.ContainerStatusSpec, asked uint64) {
		s.Running, s.Standby, s.StandbyGeneration = false, true, asked
	}))
}

func serve(t *testing.T, m *machine, spec metadata.MasterSpecSpec) {
	t.Helper()

	start(t, m)
	m.want(t, spec)
	m.started(t, 1)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.True(s.Answering)
	})
}

// looks waits until the process was looked at so often.
func (m *machine) looks(t *testing.T, times uint64) {
	t.Helper()

	require.Eventually(t, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()

		return m.looked >= times
	}, 10*time.Second, time.Millisecond)
}

func aged() *machine {
	return &machine{filesystem: true, version: 50, stored: files.Stored{Version: 50, ID: 7}}
}

func TestFirstBootFormatsOnceAndWaitsForTheRecord(t *testing.T) {
	m := &machine{version: 1}
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 1, Device: "/dev/drbd0", Format: true})

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.True(s.Formatted) })
	rtestutils.AssertNoResource[*containers.ContainerSpec](m.ctx, t, m.state, metadata.Container)

	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 1, Device: "/dev/drbd0"})
	m.started(t, 1)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
	require.True(t, m.was("format"))
}

func TestRestoreOnABlankReplica(t *testing.T) {
	m := &machine{version: 40}
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 9, Device: "/dev/drbd0", Format: true, MinMetaVersion: 40, MetadataID: 7})

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.True(s.Formatted) })
	rtestutils.AssertNoResource[*containers.ContainerSpec](m.ctx, t, m.state, metadata.Container)

	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 9, Device: "/dev/drbd0", MinMetaVersion: 40, MetadataID: 7})
	m.started(t, 1)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
	require.Equal(t, []string{"format", "mount", "install 40"}, m.only("format", "mount", "install 40"))
}

// The copy is on one node only: another one that is granted an epoch before it is
// installed must not keep that.
func TestRestoreWithoutACopyGivesUp(t *testing.T) {
	m := &machine{filesystem: true, noCopy: true}
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 9, Device: "/dev/drbd0", Format: true, MinMetaVersion: 40, MetadataID: 7})

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Equal("there is no copy", s.Error)
		a.False(s.Formatted)
	})
}

func TestWithoutConsentNothingIsFormatted(t *testing.T) {
	m := &machine{}
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "holds no file system")
	})
	require.False(t, m.was("format"))
}

func TestOlderMetadataIsNotStarted(t *testing.T) {
	m := aged()
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0", MinMetaVersion: 51, MetadataID: 7})

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "would destroy newer data")
	})
	rtestutils.AssertNoResource[*containers.ContainerSpec](m.ctx, t, m.state, metadata.Container)
}

func TestMasterThatLoadedOlderMetadataIsKilled(t *testing.T) {
	m := aged()
	m.version = 40
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0", MinMetaVersion: 50, MetadataID: 7})
	m.started(t, 1)

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.False(s.Answering)
	})
	require.True(t, m.was("kill"))
}

// On a busy machine it takes long to find it.
func TestAMasterThatRunsIsAdoptedHoweverLateItIsFound(t *testing.T) {
	m := aged()
	m.mounted, m.afterRestart = true, true
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Device: "/dev/drbd0", Epoch: 3, MinMetaVersion: 50, MetadataID: 7})
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(uint64(3), s.Epoch) })
	m.set(func() { m.ahead = time.Hour })

	found := containers.NewContainerStatus(metadata.Container)
	found.TypedSpec().Unknown = true
	require.NoError(t, m.state.Create(m.ctx, found))

	_, err := m.state.UpdateWithConflicts(m.ctx, containers.NewInventory().Metadata(), func(r resource.Resource) error {
		r.(*containers.Inventory).TypedSpec().Complete = true

		return nil
	})
	require.NoError(t, err)

	// A look at all this starts nothing.
	m.want(t, metadata.MasterSpecSpec{Run: true, Device: "/dev/drbd0", Epoch: 4, MinMetaVersion: 50, MetadataID: 7})
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(uint64(4), s.Epoch) })

	_, err = m.state.UpdateWithConflicts(m.ctx, found.Metadata(), func(r resource.Resource) error {
		*r.(*containers.ContainerStatus).TypedSpec() = containers.ContainerStatusSpec{
			Running: true, PID: 100, Adopted: true, Generation: 7, Digest: "d",
		}

		return nil
	})
	require.NoError(t, err)

	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.Zero(s.Restarts)
	})
	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.Equal(uint64(7), r.TypedSpec().Generation)
	})
}

// A node boots: containerd is slower than DRBD.
func TestNothingThatRanBeforeIsWaitedForOnWhatWasMountedHere(t *testing.T) {
	m := aged()
	m.afterRestart = true
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Device: "/dev/drbd0", Epoch: 3, MinMetaVersion: 50, MetadataID: 7})
	m.started(t, 1)
	require.True(t, m.was("mount"))
}

func TestMasterThatDoesNotAnswerIsKilledAndStartedAgain(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.silent = true })
	m.standsBy(t, 2)
	require.True(t, m.was("kill"))

	m.set(func() { m.silent = false })
	m.started(t, 3)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.Equal(1, s.Restarts)
	})
}

// What was killed may have left half a line, to which the next one would append. And
// its directory is no place to tidy while anything may still write there.
func TestRestartInPlacePreparesWhenNobodyIsAliveAnyMore(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.alive = true })
	require.NoError(t, m.running(false))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseRestarting, s.Phase) })
	m.standsBy(t, 2)

	m.did("gone")
	m.set(func() { m.alive = false })
	m.started(t, 3)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.Equal(1, s.Restarts)
	})
	require.Equal(t, []string{"prepare", "gone", "prepare"}, m.only("prepare", "gone"))
	require.Equal(t, []string{"mount"}, m.only("mount", "unmount"))
}

// What mfsmaster stumbles over in its own metadata is mended, and only then looked for: it
// takes as long as reading all changes.
func TestWhatAStartEndedAtIsMended(t *testing.T) {
	m := aged()
	m.silent, m.mended = true, "it had left out a session"

	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	m.started(t, 1)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseStarting, s.Phase) })
	require.False(t, m.was("mend"))

	require.NoError(t, m.running(false))
	m.standsBy(t, 2)
	m.set(func() { m.silent = false })
	m.started(t, 3)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
	require.Equal(t, []string{"prepare", "prepare", "mend", "metadata.mended"}, m.only("prepare", "mend", "metadata.mended"))

	// One that has served was not kept from starting.
	require.NoError(t, m.running(false))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(2, s.Restarts) })
	m.standsBy(t, 4)
	m.started(t, 5)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
	require.Len(t, m.only("mend"), 1)
}

// Versions that are gone are not served by a restart either.
func TestRestartInPlaceKeepsTheGuard(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0", MinMetaVersion: 50})

	m.set(func() { m.stored.Version = 49 })
	require.NoError(t, m.running(false))
	m.standsBy(t, 2)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "ends at version 49")
	})
}

// Ended half way, it would only be begun anew, and take as long again.
func TestAContainerThatIsBeingMadeIsWaitedFor(t *testing.T) {
	for name, stage := range map[string]func(t *testing.T, m *machine){
		"did not start": func(t *testing.T, m *machine) { m.askedFor(t, 1) },
		"has not ended": func(t *testing.T, m *machine) {
			m.started(t, 1)
			m.set(func() { m.alive = true })
			require.NoError(t, m.running(false))
			m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(1, s.Restarts) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := aged()

			start(t, m)
			m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
			stage(t, m)

			m.busy(t, true)

			killed := len(m.only("kill"))

			m.set(func() { m.ahead += 2 * time.Minute })
			m.looksAgain(t)
			require.Len(t, m.only("kill"), killed)

			m.busy(t, false)
			m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Contains(s.Error, name) })

			// But not without end: another node may do better.
			m.busy(t, true)
			m.set(func() { m.ahead += time.Hour })
			m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
				a.Equal(metadata.PhaseFailed, s.Phase)
				a.Contains(s.Error, "containerd has not made")
			})
		})
	}
}

func TestAContainerThatIsNeverMadeGivesUp(t *testing.T) {
	m := aged()

	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	m.askedFor(t, 1)
	m.busy(t, true)
	m.set(func() { m.ahead += time.Hour })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "containerd has not made")
		a.Zero(s.Restarts)
	})
}

// What its container took is no time of its own.
func TestMasterThatStartsLateHasItsWholeTime(t *testing.T) {
	m := aged()
	m.silent = true

	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	m.askedFor(t, 1)
	m.busy(t, true)
	m.set(func() { m.ahead += 2 * time.Minute })
	m.started(t, 1)
	m.looksAgain(t)
	m.looksAgain(t)
	require.Empty(t, m.only("kill", "metadata.master-loading"))

	m.set(func() { m.silent = false })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
}

// A process that hangs in the kernel ends some day, or this node says that it can't
// serve.
func TestRestartInPlaceIsNotWaitedForWithoutEnd(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.alive, m.hurried = true, true })
	require.NoError(t, m.running(false))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "the last mfsmaster has not ended")
	})
	require.Equal(t, []string{"prepare"}, m.only("prepare"))
}

func TestMasterThatIsSlowIsLeftAlone(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.silent, m.slow = true, true })
	m.looks(t, 6)
	require.False(t, m.was("kill"))

	m.set(func() { m.silent = false })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.True(s.Answering) })
}

func TestMasterThatLoadsForLongIsLeftAlone(t *testing.T) {
	m := starting(t, true)

	m.set(func() { m.ahead += 2 * time.Minute })
	m.looks(t, 1)
	m.set(func() { m.ahead += 2 * time.Minute })
	m.looks(t, 2)
	m.looksAgain(t)
	require.True(t, m.was("metadata.master-loading"))
	require.Empty(t, m.only("kill"))

	m.set(func() { m.silent = false })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.Zero(s.Restarts)
	})
}

func TestMasterThatStartsAndDoesNothingIsStartedAgain(t *testing.T) {
	m := starting(t, false)

	m.set(func() { m.ahead += 2 * time.Minute })
	m.looks(t, 1)
	m.set(func() { m.ahead += 2 * time.Minute })
	m.standsBy(t, 2)
	require.True(t, m.was("kill"))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(1, s.Restarts)
		a.Contains(s.Error, "did not answer within 30s")
	})
}

// Begun anew it would take as long again; another node may do better.
func TestMasterThatIsAtWorkWithoutEndGivesUp(t *testing.T) {
	m := starting(t, true)

	m.set(func() { m.ahead += time.Hour })
	m.standsBy(t, 2)
	require.True(t, m.was("kill"))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "at work for 15m")
	})
}

// starting is a master that runs and has not answered yet.
func starting(t *testing.T, slow bool) *machine {
	t.Helper()

	m := aged()
	m.silent, m.slow = true, slow

	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	m.started(t, 1)
	m.looksAgain(t)

	return m
}

func TestMasterIsStoppedWhenItsFileSystemFails(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.sick = errors.New("read-only") })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFailed, s.Phase)
		a.Contains(s.Error, "read-only")
	})
	require.True(t, m.was("kill"))
}

func TestTheClockIsHeldAgainstTheMetadataBeforeAStart(t *testing.T) {
	m := aged()
	start(t, m)
	m.want(t, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	m.askedFor(t, 1)

	const heard = "heard of the last change of the metadata: 1000"

	require.Equal(t, []string{heard, "hold"}, m.only(heard, "hold"))
}

// What nothing needs goes by itself.
func TestMasterMakesRoomOnAFullFileSystem(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.filled, m.expendable = 1<<30, 1<<29 })
	m.standsBy(t, 2)
	m.started(t, 3)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseServing, s.Phase) })
	require.True(t, m.was("kill"))
}

// The other replica is as full, and nobody could make room where nothing is mounted.
func TestMasterWaitsForRoomOnAFullFileSystem(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.filled = 1<<30 - metadata.LeastFree + 1 })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseFull, s.Phase)
		a.True(s.Mounted)
		a.False(s.Answering)
		a.Contains(s.Error, "is full (7 MiB are left)")
		a.Contains(s.Error, "remove what doesn't belong below /var/lib/antler/meta/replica")
	})
	require.True(t, m.was("kill"))
	m.standsBy(t, 2)
	m.looksAgain(t)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) { a.Equal(metadata.PhaseFull, s.Phase) })

	m.set(func() { m.filled = 0 })
	m.started(t, 3)
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseServing, s.Phase)
		a.Empty(s.Error)
		a.EqualValues(1<<30, s.ReplicaFree)
	})
}

func TestLeaseLostKillsAndUnmounts(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.want(t, metadata.MasterSpecSpec{Epoch: 2, Stop: metadata.StopKill})
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseStopped, s.Phase)
		a.False(s.Mounted)
	})
	require.True(t, m.was("kill"))
	rtestutils.AssertResource(m.ctx, t, m.state, replication.DeviceUseID, func(r *replication.DeviceUse, a *assert.Assertions) {
		a.False(r.TypedSpec().Mounted)
		a.False(r.TypedSpec().Alive)
	})
}

// What is written while one chunkserver is there has one copy, and is acknowledged.
func TestClientsAreLetInWhenThereIsRoomForCopies(t *testing.T) {
	m := aged()
	m.chunkservers = 1
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0", Chunkservers: 2})
	m.looksAgain(t)
	require.Equal(t, []string{"prepare", "hold"}, m.only("prepare", "hold", "open"))

	m.set(func() { m.chunkservers = 2 })
	require.Eventually(t, func() bool { return m.was("open") }, 5*time.Second, time.Millisecond)
	m.looksAgain(t)
	require.Equal(t, []string{"hold", "open"}, m.only("hold", "open"), "once is enough")

	// One that goes later is MooseFS's business.
	m.set(func() { m.chunkservers = 0 })
	m.looksAgain(t)
	require.Equal(t, []string{"hold", "open"}, m.only("hold", "open"))
}

func TestADoorThatIsStuckIsTriedAgain(t *testing.T) {
	m := aged()
	m.jammed = errors.New("no nftables")
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})
	require.Eventually(t, func() bool { return len(m.only("open")) > 2 }, 5*time.Second, time.Millisecond)
	require.False(t, m.was("metadata.clients-admitted"))

	m.set(func() { m.jammed = nil })
	require.Eventually(t, func() bool { return m.was("metadata.clients-admitted") }, 5*time.Second, time.Millisecond)
}

func TestClientsDoNotWaitWithoutEndForChunkservers(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0", Chunkservers: 2})
	m.looksAgain(t)
	require.False(t, m.was("open"))

	m.set(func() { m.ahead += authority.DefaultTiming().ChunkserverWait })
	require.Eventually(t, func() bool { return m.was("open") }, 5*time.Second, time.Millisecond)
}

// Clients wait for the next holder, and the kernel knows of the end first.
func TestContainerdsWordForAnEndIsNotWaitedFor(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.set(func() { m.alive, m.unheard = true, true })
	m.want(t, metadata.MasterSpecSpec{Epoch: 2, Stop: metadata.StopKill})
	require.Eventually(t, func() bool { return m.was("kill") }, 5*time.Second, time.Millisecond)
	m.looksAgain(t)
	require.False(t, m.was("unmount"), "it may still write")

	m.set(func() { m.alive = false })
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseStopped, s.Phase)
		a.False(s.Mounted)
	})
	require.Len(t, m.only("kill"), 1)
	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.True(r.TypedSpec().Stopped)
	})
}

func TestSwitchoverLeavesNoRequestHalfDone(t *testing.T) {
	m := aged()
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.want(t, metadata.MasterSpecSpec{Epoch: 2, Stop: metadata.StopClean})
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseStopped, s.Phase)
		a.False(s.Mounted)
	})
	require.Equal(t, []string{"save", "close", "kill", "unmount"}, m.only("save", "close", "kill", "unmount"))
	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.True(r.TypedSpec().Stopped)
	})
}

// Where mfsmaster writes its changelog in the background, only its own end
// writes all of it.
func TestSwitchoverWithoutFlushesStopsInOrder(t *testing.T) {
	m := aged()
	m.lossy = true
	serve(t, m, metadata.MasterSpecSpec{Run: true, Epoch: 2, Device: "/dev/drbd0"})

	m.want(t, metadata.MasterSpecSpec{Epoch: 2, Stop: metadata.StopClean})
	rtestutils.AssertResource(m.ctx, t, m.state, metadata.Container, func(r *containers.ContainerSpec, a *assert.Assertions) {
		a.True(r.TypedSpec().Stopped)
	})
	require.False(t, m.was("unmount"), "mfsmaster still saves its metadata")

	require.NoError(t, m.running(false))
	m.becomes(t, func(s *metadata.MasterStatusSpec, a *assert.Assertions) {
		a.Equal(metadata.PhaseStopped, s.Phase)
		a.False(s.Mounted)
	})
	require.False(t, m.was("kill"))
}
