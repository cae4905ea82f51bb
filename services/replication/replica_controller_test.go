package replication

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/authority"
	"antler/services/node"
	"antler/services/node/config"
)

// bench is a controller at work on a fake DRBD.
type bench struct {
	t          *testing.T
	ctx        context.Context
	state      state.State
	rt         *runtime.Runtime
	drbd       *fakeDRBD
	device     *fakeDevice
	fencer     fencer
	handler    *fakeHandler
	saver      *saver
	events     *eventLog
	marker     markerFile
	mark, loss mark
	sound      mark
	// compareAfter is the table's, if there is one.
	compareAfter time.Duration
}

func newBench(t *testing.T, existing ...string) *bench {
	t.Helper()

	return newBenchOf(t, Version84, existing...)
}

// moduleOf is a module of the version.
func moduleOf(version Version) *Module {
	m := NewModule("")
	m.version.Store(&version)

	return m
}

func newBenchOf(t *testing.T, version Version, existing ...string) *bench {
	t.Helper()

	return newBenchAfter(t, func(*bench) {}, version, existing...)
}

// newBenchAfter is for what an antlerd before this one has left.
func newBenchAfter(t *testing.T, before func(*bench), version Version, existing ...string) *bench {
	t.Helper()

	dir := t.TempDir()
	b := &bench{
		t: t, state: state.WrapCore(namespaced.NewState(inmem.Build)),
		drbd: newFakeDRBD(t, existing...), device: &fakeDevice{size: 1 << 30}, fencer: fencer{make(chan error, 1)}, handler: &fakeHandler{}, saver: &saver{},
		events: &eventLog{}, marker: markerFile{filepath.Join(dir, "replica.json")}, mark: mark{filepath.Join(dir, "run", "broken-off")}, loss: mark{filepath.Join(dir, "run", "disk-lost")},
		sound: mark{filepath.Join(dir, "run", "replica-sound")}, compareAfter: time.Hour,
	}
	before(b)

	timing := authority.DefaultTiming()
	timing.ReplicaPingInterval, timing.ReplicaPingTimeout = 5*time.Millisecond, 5*time.Millisecond
	timing.PromoteDeadline, timing.CompareAfter = 2*time.Second, b.compareAfter

	config := filepath.Join(dir, "drbd", "meta.res")

	// What runs was configured by an antlerd before this one.
	if len(existing) > 0 {
		drbd := DRBD{Node: "n1", Module: moduleOf(version)}
		content, err := drbd.renderConfig(wanted(func(*ReplicaSpecSpec) {}), timing)
		require.NoError(t, err)
		require.NoError(t, writeConfig(config, content))
		// While the kernel has nothing to tell of it, it is recognised as ours.
		require.NoError(t, b.marker.write(marker{ConsentID: "consent", Device: "/dev/vdb", Created: true}))
		b.drbd.wipefs = drbdSignature
	}

	rt, err := runtime.NewRuntime(b.state, zaptest.NewLogger(t))
	require.NoError(t, err)

	b.rt = rt

	require.NoError(t, rt.RegisterController(&ReplicaController{
		Node: "n1", Runner: b.drbd, Device: b.device, Fencer: b.fencer, Saver: b.saver, Events: b.events, Timing: timing,
		Config: config, Marker: b.marker.path, BreakMark: b.mark.path, LossMark: b.loss.path, SoundMark: b.sound.path, Handler: b.handler, Helpers: b.drbd.helpers,
		Module: moduleOf(version),
	}))

	var cancel context.CancelFunc

	b.ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan error, 1)

	go func() { done <- rt.Run(b.ctx) }()

	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})

	return b
}

func wanted(change func(*ReplicaSpecSpec)) ReplicaSpecSpec {
	spec := ReplicaSpecSpec{
		Device: "/dev/vdb", Peer: "n2", SelfAddress: "10.0.0.1", PeerAddress: "10.0.0.2",
		ConsentID: "consent", Role: RoleSecondary,
	}
	change(&spec)

	return spec
}

func (b *bench) want(change func(*ReplicaSpecSpec)) {
	b.t.Helper()

	_, err := safe.StateUpdateWithConflicts(b.ctx, b.state, NewReplicaSpec().Metadata(), func(r *ReplicaSpec) error {
		*r.TypedSpec() = wanted(change)

		return nil
	})
	if state.IsNotFoundError(err) {
		r := NewReplicaSpec()
		*r.TypedSpec() = wanted(change)
		err = b.state.Create(b.ctx, r)
	}

	require.NoError(b.t, err)
}

// decide has a SpecController say what is wanted, by the record and the use.
func (b *bench) decide(record authority.AuthorityStatusSpec, use DeviceUseSpec) {
	b.t.Helper()

	status, uses := authority.NewAuthorityStatus(), NewDeviceUse()
	*status.TypedSpec(), *uses.TypedSpec() = record, use

	for _, r := range []resource.Resource{status, uses, node.NewNodeConfig(&config.Config{
		Cluster: config.Cluster{Nodes: []config.Member{
			{Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), Roles: []config.Role{config.RoleMetadata}},
			{Name: "n2", Address: netip.MustParseAddr("10.0.0.2"), Roles: []config.Role{config.RoleMetadata}},
		}},
		Node: config.Node{Name: "n1", Replica: config.Replica{Device: "/dev/vdb"}},
	})} {
		require.NoError(b.t, b.state.Create(b.ctx, r))
	}

	require.NoError(b.t, b.rt.RegisterController(&SpecController{}))
}

// update what SpecController decides by.
func update[R resource.Resource](b *bench, which R, how func(R)) {
	b.t.Helper()

	_, err := safe.StateUpdateWithConflicts(b.ctx, b.state, which.Metadata(), func(r R) error {
		how(r)

		return nil
	})
	require.NoError(b.t, err)
}

func (b *bench) await(check func(ReplicaStatusSpec, *assert.Assertions)) {
	b.t.Helper()

	rtestutils.AssertResource(b.ctx, b.t, b.state, ReplicaStatusID, func(r *ReplicaStatus, a *assert.Assertions) {
		check(*r.TypedSpec(), a)
	})
}

// running is what events2 lists of a healthy pair, of which this one is role.
func running(role Role) []string {
	return []string{
		"exists resource name:meta role:" + string(role) + " suspended:no",
		"exists connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Secondary",
		"exists device name:meta volume:0 minor:0 disk:UpToDate",
		"exists peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate",
	}
}

func TestFirstBoot(t *testing.T) {
	b := newBench(t)

	b.want(func(s *ReplicaSpecSpec) { s.ConsentID, s.Role = "", "" })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(PhaseBlank, s.Phase) })
	assert.Empty(t, b.drbd.commands(), "nothing is written without consent")

	b.want(func(s *ReplicaSpecSpec) {})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(PhaseUp, s.Phase)
		a.Equal("Inconsistent", s.Disk)
	})
	assert.True(t, b.device.zeroed)

	mark, err := b.marker.read()
	require.NoError(t, err)
	assert.Equal(t, marker{ConsentID: "consent", Device: "/dev/vdb", Created: true}, mark)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.First = RolePrimary, 1, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.True(s.ReadyFor(1))
		a.Empty(s.Error)
	})
	assert.Equal(t, []string{"create-md --force meta", "adjust meta", "new-current-uuid 0 --clear-bitmap", "disconnect meta", "connect meta", "primary 0"}, b.drbd.commands())
	assert.Contains(t, b.events.all(), "replication.created")
	assert.Contains(t, b.events.all(), "replication.promoted")
}

func TestAPeerThatIsNotWrittenToIsOutdatedFirst(t *testing.T) {
	peer := running(RolePrimary)
	peer[3] = strings.Replace(peer[3], "peer-disk:UpToDate", "peer-disk:Inconsistent", 1)
	b := newBench(t, peer...)

	serve := func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 3, true }

	b.want(func(s *ReplicaSpecSpec) {
		serve(s)
		s.PeerTrusted = true
	})
	// The second is taken once the first was.
	b.fencer.answers <- errors.New("no leader")
	b.fencer.answers <- nil
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RolePrimary, s.Role)
		a.False(s.ReadyFor(3), "the quorum may still grant to the peer")
	})

	b.want(serve)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(3)) })
}

func TestAPrimaryIsReadyOnceItsCommandEnds(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)
	b.drbd.linger = make(chan struct{})

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RoleSecondary, 2, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(2), s.Epoch, "granted, and the lease is on its way")
	})

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 2, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RolePrimary, s.Role)
		a.False(s.ReadyFor(2), "the device may still be read-only")
	})

	close(b.drbd.linger)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(2)) })
}

func TestAReplacementIsNotZeroed(t *testing.T) {
	b := newBench(t)

	b.want(func(s *ReplicaSpecSpec) { s.Formatted = true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(PhaseUp, s.Phase) })
	assert.False(t, b.device.zeroed)
	assert.Equal(t, []string{"create-md --force meta", "adjust meta"}, b.drbd.commands())
}

func TestARefusedDeviceIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.drbd.mu.Lock()
	b.drbd.wipefs = ext4Signature
	b.drbd.mu.Unlock()

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.First = RolePrimary, 1, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(PhaseRefused, s.Phase)
		a.Contains(s.Error, "wipefs -a /dev/vdb")
	})
	assert.Empty(t, b.drbd.commands())
}

func TestARunningPrimaryIsAdopted(t *testing.T) {
	b := newBench(t, running(RolePrimary)...)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Formatted = "", true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RolePrimary, s.Role)
		a.Zero(s.Epoch, "whose epoch it is, is not known yet")
	})

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 4, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(4)) })

	assert.Empty(t, b.drbd.commands(), "it is left alone")
}

func TestAnotherConfigurationReachesARunningPrimary(t *testing.T) {
	b := newBench(t, running(RolePrimary)...)

	b.want(func(s *ReplicaSpecSpec) {
		s.Role, s.Epoch, s.Formatted, s.PeerAddress = RolePrimary, 4, true, "10.0.0.9"
	})
	require.Eventually(t, func() bool { return len(b.drbd.commands()) > 0 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []string{"adjust meta"}, b.drbd.commands())
}

func TestPromotePartsFromAPeerThatHangs(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)
	b.drbd.refuse["primary 0"] = []error{refusal("(-1) Multiple primaries not allowed by config"), refusal("(-1) Multiple primaries not allowed by config")}

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 2, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(2)) })
	assert.Contains(t, b.drbd.commands(), "disconnect ipv4:10.0.0.1:7789 ipv4:10.0.0.2:7789 --force")
}

func TestPromoteWaitsForAPeerThatUnmounts(t *testing.T) {
	drbd := newFakeDRBD(t)
	a := actions{drbd: DRBD{Runner: drbd, Node: "n1"}, timing: authority.DefaultTiming()}
	looks := 0

	err := a.promote(t.Context(), wanted(func(s *ReplicaSpecSpec) { s.PeerYields = true }), func() kernel {
		assert.Empty(t, drbd.commands(), "the peer is still primary")

		looks++
		if looks > 5 {
			return kernel{connection: connected, peerRole: RoleSecondary}
		}

		return kernel{connection: connected, peerRole: RolePrimary}
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"primary 0"}, drbd.commands())
	assert.Greater(t, looks, 5)
}

func TestPromoteIsGivenUpAtItsDeadline(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)

	for range 1000 {
		b.drbd.refuse["primary 0"] = append(b.drbd.refuse["primary 0"], refusal("(-2) Need access to UpToDate data"))
	}

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 2, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(2), s.FailedEpoch)
		a.Contains(s.Error, "not up to date")
	})
}

func TestALostLeaseEndsPromoting(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)
	b.drbd.hang = true

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 2, true })
	require.Eventually(t, func() bool { return len(b.drbd.commands()) > 0 }, 10*time.Second, time.Millisecond)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RoleSecondary, 3, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(3), s.Epoch)
		a.Zero(s.FailedEpoch)
		a.Empty(s.Error)
	})
}

func TestDemoteWaitsUntilNobodyHasItOpen(t *testing.T) {
	b := newBench(t, running(RolePrimary)...)
	b.drbd.refuse["secondary 0"] = []error{refusal("(-12) Device is held open by someone"), refusal("(-12) Device is held open by someone")}

	b.want(func(s *ReplicaSpecSpec) { s.Epoch, s.Formatted = 3, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RoleSecondary, s.Role)
		a.Equal(uint64(3), s.Epoch)
	})
}

func frozenPrimary() []string {
	return []string{
		"exists resource name:meta role:Primary suspended:fencing",
		"exists connection name:meta peer-node-id:0 conn-name:peer connection:Connecting role:Unknown",
		"exists device name:meta volume:0 minor:0 disk:UpToDate",
		"exists peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown",
	}
}

func TestFrozenIOGoesOnWithTheQuorumsWord(t *testing.T) {
	b := newBench(t, frozenPrimary()...)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 3, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal("fencing", s.Suspended) })
	assert.NotContains(t, b.drbd.commands(), "resume-io 0")

	b.fencer.answers <- nil

	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RolePrimary, s.Role)
		a.Empty(s.Suspended)
	})
	assert.Contains(t, b.drbd.commands(), "resume-io 0")
	assert.NotContains(t, b.drbd.commands(), "detach 0 --force")
}

func TestAFailedDiskIsTold(t *testing.T) {
	b := newBench(t, running(RolePrimary)...)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, 3, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(3)) })

	b.drbd.tell("change device name:meta volume:0 minor:0 disk:Failed", "change device name:meta volume:0 minor:0 disk:Diskless")
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(1, s.IOErrors)
		a.Contains(s.Error, "replace it")
		a.False(s.ReadyFor(3))
	})
	assert.Empty(t, b.drbd.commands(), "a failed disk is not attached again")
}

func TestSplitBrainIsLeftToAPerson(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)

	b.want(func(s *ReplicaSpecSpec) { s.Formatted = true })
	b.drbd.tell("call helper name:meta peer-node-id:0 conn-name:peer helper:split-brain",
		"destroy connection name:meta peer-node-id:0 conn-name:peer")
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal("StandAlone", s.Connection)
		a.Contains(s.Error, "split brain")
	})
	assert.NotContains(t, b.drbd.commands(), "connect meta")
}

func TestASplitBrainEndsByAPersonsWord(t *testing.T) {
	b := newBench(t, running(RoleSecondary)...)
	b.saver.fails = 1

	b.want(func(s *ReplicaSpecSpec) { s.Formatted = true })
	b.drbd.tell("call helper name:meta peer-node-id:0 conn-name:peer helper:split-brain",
		"destroy connection name:meta peer-node-id:0 conn-name:peer")
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.True(s.SplitBrain)
		a.Contains(s.Error, "antlerctl replication resolve")
	})
	require.Zero(t, b.saver.asked)

	// Nothing is discarded that could not be saved.
	b.want(func(s *ReplicaSpecSpec) { s.Formatted, s.Discard = true, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Contains(s.Error, "nothing was discarded") })
	assert.NotContains(t, b.drbd.commands(), "connect --discard-my-data meta")

	require.Eventually(t, func() bool { return slices.Contains(b.drbd.commands(), "connect --discard-my-data meta") }, 10*time.Second, 10*time.Millisecond)
	b.drbd.tell("create connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Primary")
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.False(s.SplitBrain)
		a.Empty(s.Error)
	})
	assert.NotContains(t, b.drbd.commands(), "connect meta", "never without giving up its own")
}
