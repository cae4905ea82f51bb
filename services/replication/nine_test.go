package replication

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

func TestVersion(t *testing.T) {
	for content, want := range map[string]Version{
		"version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 1\n":          Version84,
		"version: 9.2.14 (api:2/proto:118-122)\nGIT-hash: 1\n":           Version9,
		"version: 9.3.3 (api:2/proto:118-124)\nTransports (api:21): tcp": Version9,
		"": Version84,
	} {
		assert.Equal(t, want, parseVersion([]byte(content)), content)
	}

	path := filepath.Join(t.TempDir(), "drbd")
	module := NewModule(path)
	assert.Equal(t, Version84, module.Version(), "it isn't loaded yet")
	require.NoError(t, os.WriteFile(path, []byte("version: 9.2.14 (api:2)\n"), 0o600))
	assert.Equal(t, Version9, module.Version())
	require.NoError(t, os.Remove(path))
	assert.Equal(t, Version9, module.Version(), "it is looked up once")
	assert.Equal(t, Version84, (*Module)(nil).Version())
}

// TestConfigOfNine compares with a file that drbdadm 9.22 reads: see `make
// test-extension`.
func TestConfigOfNine(t *testing.T) {
	nine := func(node string) DRBD { return DRBD{Node: node, Module: moduleOf(Version9)} }

	text, err := nine("n1").renderConfig(ReplicaSpecSpec{
		Device: "/dev/vdb", Peer: "n2", SelfAddress: "10.0.0.1", PeerAddress: "fd00::2",
	}, authority.DefaultTiming())
	require.NoError(t, err)

	want, err := os.ReadFile("testdata/nine/n1.res")
	require.NoError(t, err)
	assert.Equal(t, string(want), text)

	// Each node is called by the same number on both.
	text, err = nine("n2").renderConfig(ReplicaSpecSpec{
		Device: "/dev/vdb", Peer: "n1", SelfAddress: "fd00::2", PeerAddress: "10.0.0.1",
	}, authority.DefaultTiming())
	require.NoError(t, err)
	assert.Contains(t, text, "on \"n2\" {\n    node-id 1;\n    address ipv6 [fd00::2]:7789;")
	assert.Contains(t, text, "on \"n1\" {\n    node-id 0;\n    address ipv4 10.0.0.1:7789;")

	text, err = nine("n1").renderConfig(ReplicaSpecSpec{Device: "/dev/vdb", SelfAddress: "10.0.0.1"}, authority.DefaultTiming())
	require.NoError(t, err)
	assert.Contains(t, text, "quorum off;", "a cluster of one has nobody to wait for")

	_, err = nine("n1").renderConfig(ReplicaSpecSpec{SelfAddress: "n1.local"}, authority.DefaultTiming())
	require.ErrorContains(t, err, `"n1.local" is no address`)
}

func statusOfNine(t *testing.T, name string) string {
	t.Helper()

	text, err := os.ReadFile("testdata/nine/" + name + ".json")
	require.NoError(t, err)

	return string(text)
}

func TestParseStatus(t *testing.T) {
	for name, want := range map[string]kernel{
		"healthy": {
			known: true, exists: true, role: RolePrimary, disk: diskUpToDate, size: 262112,
			connection: connected, peerRole: RoleSecondary, peerDisk: diskUpToDate, replication: "Established",
		},
		"peer-lost": {
			known: true, exists: true, role: RolePrimary, disk: diskUpToDate, size: 262112, suspended: suspendedQuorum,
			connection: "Connecting", peerRole: "Unknown", peerDisk: "DUnknown", replication: "Off",
		},
		"resync": {
			known: true, exists: true, role: RolePrimary, disk: diskUpToDate, size: 262112,
			connection: connected, peerRole: RoleSecondary, peerDisk: diskInconsistent, replication: "SyncSource", outOfSync: 131056,
		},
		"alone": {known: true, exists: true, role: RoleSecondary, disk: diskConsistent, size: 262112},
		"none":  {known: true},
	} {
		got, err := parseStatus(statusOfNine(t, name))
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}

	got, err := parseStatus(statusOfNine(t, "resync"))
	require.NoError(t, err)
	assert.InDelta(t, 50.0, got.inSync(), 0.1)
}

func TestParseStatusRefuses(t *testing.T) {
	_, err := parseStatus("meta role:Primary")
	require.ErrorContains(t, err, "read what drbdsetup status says")

	_, err = parseStatus(`[{"name": "meta", "connections": [{}, {}]}]`)
	require.ErrorContains(t, err, "2 peers: somebody else configured it")

	_, err = parseStatus(`[{"name": "meta", "devices": [{}, {}]}]`)
	require.ErrorContains(t, err, "2 volumes")

	got, err := parseStatus(`[{"name": "other", "role": "Primary"}]`)
	require.NoError(t, err)
	assert.False(t, got.exists)
}

func TestSuspendedHasTheWordsOfEvents(t *testing.T) {
	got, err := parseStatus(`[{"name": "meta", "suspended-user": true, "suspended-quorum": true}]`)
	require.NoError(t, err)
	assert.Equal(t, "user,quorum", got.suspended)
	assert.False(t, awaitsWord(got.suspended), "a person froze it as well")
}

func TestEventsOfNine(t *testing.T) {
	_, states := recorded(t, "nine/peer-lost")
	last := states[len(states)-1]

	assert.Equal(t, kernel{
		known: true, exists: true, role: RolePrimary, disk: diskUpToDate, connection: "Connecting",
		peerRole: "Unknown", peerDisk: "DUnknown", replication: "Off", connects: 1,
	}, last)
	assert.Equal(t, []string{
		"replication.connected", "replication.promoted",
		"replication.suspended", "replication.disconnected", "replication.resumed",
	}, kinds(states))
}

func TestASecondaryWithoutItsPeerIsNotFrozen(t *testing.T) {
	assert.Empty(t, kernel{role: RoleSecondary, suspended: suspendedQuorum}.frozen())
	assert.Equal(t, "quorum", kernel{role: RolePrimary, suspended: suspendedQuorum}.frozen())
	assert.Equal(t, "no-data", kernel{role: RoleSecondary, suspended: "no-data"}.frozen())
}

// lonely is what events2 of DRBD 9 lists of a replica that lost its peer.
func lonely(role Role, disk, suspended string) []string {
	return []string{
		"exists resource name:meta role:" + string(role) + " suspended:" + suspended + " force-io-failures:no may_promote:no promotion_score:10101",
		"exists connection name:meta peer-node-id:1 conn-name:n2 connection:Connecting role:Unknown",
		"exists device name:meta volume:0 minor:0 backing_dev:/dev/vdb disk:" + disk + " client:no open:no quorum:no",
		"exists peer-device name:meta peer-node-id:1 conn-name:n2 volume:0 replication:Off peer-disk:DUnknown peer-client:no resync-suspended:no",
		"exists path name:meta peer-node-id:1 conn-name:n2 local:ipv4:10.0.0.1:7789 peer:ipv4:10.0.0.2:7789 established:no",
	}
}

const (
	noQuorum = "(-25) No quorum"
	noData   = "(-2) Need access to UpToDate data"
)

func (b *bench) promote(epoch uint64) {
	b.t.Helper()
	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted = RolePrimary, epoch, true })
}

func TestNineIsPromotedAloneWithTheQuorumsWordOnly(t *testing.T) {
	b := newBenchOf(t, Version9, lonely(RoleSecondary, diskUpToDate, "quorum")...)
	b.drbd.refuse["primary meta"] = []error{refusal(noQuorum)}

	b.promote(2)
	require.Eventually(t, func() bool { return len(b.drbd.commands()) > 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []string{"resource-options meta --quorum=2", "primary meta"}, b.drbd.commands())

	b.fencer.answers <- nil

	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(2)) })
	assert.Equal(t, []string{
		"resource-options meta --quorum=2", "primary meta", "resource-options meta --quorum=off", "primary meta",
	}, b.drbd.commands())
}

func TestNineWithoutTheQuorumsWordIsNotPromoted(t *testing.T) {
	b := newBenchOf(t, Version9, lonely(RoleSecondary, diskUpToDate, "quorum")...)

	for range 1000 {
		b.drbd.refuse["primary meta"] = append(b.drbd.refuse["primary meta"], refusal(noQuorum))
	}

	b.fencer.answers <- errors.New("no leader")

	b.promote(2)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(2), s.FailedEpoch)
		a.NotEmpty(s.Error)
	})
	assert.NotContains(t, strings.Join(b.drbd.commands(), "\n"), "quorum=off")
	assert.NotContains(t, strings.Join(b.drbd.commands(), "\n"), "--force")
}

// TestNineIsForcedWhereItsDiskIsConsistent: DRBD doubts it because its primary
// went without a word.
func TestNineIsForcedWhereItsDiskIsConsistent(t *testing.T) {
	b := newBenchOf(t, Version9, lonely(RoleSecondary, diskConsistent, "quorum")...)
	b.drbd.refuse["primary meta"] = []error{refusal(noData), refusal(noData)}
	b.fencer.answers <- nil

	b.promote(2)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(2)) })
	assert.Equal(t, []string{
		"resource-options meta --quorum=2", "primary meta",
		"resource-options meta --quorum=off", "primary meta", "primary meta --force",
	}, b.drbd.commands())
}

func TestNineIsNeverForcedWhereItIsBehind(t *testing.T) {
	for _, disk := range []string{diskOutdated, diskInconsistent, diskDiskless} {
		t.Run(disk, func(t *testing.T) {
			drbd := newFakeDRBD(t, lonely(RoleSecondary, disk, "quorum")...)
			a := nineActions(drbd, fencer{make(chan error)})
			refused := refusal(noData)

			err := a.promoteAlone(t.Context(), wanted(func(*ReplicaSpecSpec) {}), func() kernel { return kernel{disk: disk} }, refused)
			require.ErrorIs(t, err, refused)
			assert.Empty(t, drbd.commands())
		})
	}
}

func nineActions(drbd *fakeDRBD, f Fencer) actions {
	return actions{
		drbd:   DRBD{Runner: drbd, Node: "n1", Module: moduleOf(Version9)},
		fencer: f, timing: authority.DefaultTiming(),
	}
}

// TestNineAsksAgainWhenThePeerWasBack: what was recorded may no longer be so.
func TestNineAsksAgainWhenThePeerWasBack(t *testing.T) {
	drbd := newFakeDRBD(t, lonely(RoleSecondary, diskUpToDate, "quorum")...)
	answer := fencer{make(chan error, 1)}
	answer.answers <- nil

	looks := 0
	look := func() kernel {
		looks++

		return kernel{disk: diskUpToDate, connection: "Connecting", connects: looks}
	}

	refused := refusal(noQuorum)
	err := nineActions(drbd, answer).promoteAlone(t.Context(), wanted(func(*ReplicaSpecSpec) {}), look, refused)
	require.ErrorIs(t, err, refused)
	assert.Empty(t, drbd.commands())
}

// TestNineGoesOnAloneOnlyWithAFreshWord: while the quorum was being asked, the
// peer came back, was recorded as up to date, and left again.
func TestNineGoesOnAloneOnlyWithAFreshWord(t *testing.T) {
	drbd := newFakeDRBD(t)
	drbd.status = statusOfNine(t, "healthy")
	d := nineActions(drbd, nil).drbd

	question := d.question()
	back, err := d.PeerUpToDate(t.Context())
	require.NoError(t, err)
	require.True(t, back)

	require.ErrorIs(t, d.GoOnAlone(t.Context(), question), errPeerWasBack)
	assert.NotContains(t, drbd.commands(), "resource-options meta --quorum=off")

	require.NoError(t, d.GoOnAlone(t.Context(), d.question()))
	assert.Contains(t, drbd.commands(), "resource-options meta --quorum=off")
}

func TestNineAsksNobodyWhileThePeerIsThere(t *testing.T) {
	drbd := newFakeDRBD(t)
	refused := refusal(noQuorum)
	look := func() kernel { return kernel{disk: diskUpToDate, connection: connected} }

	err := nineActions(drbd, fencer{make(chan error)}).promoteAlone(t.Context(), wanted(func(*ReplicaSpecSpec) {}), look, refused)
	require.ErrorIs(t, err, refused)
	assert.Empty(t, drbd.commands())
}

func TestNineGoesOnWithTheQuorumsWord(t *testing.T) {
	b := newBenchOf(t, Version9, lonely(RolePrimary, diskUpToDate, "quorum")...)

	b.promote(3)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal("quorum", s.Suspended) })
	assert.Empty(t, b.drbd.commands())

	b.fencer.answers <- nil

	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RolePrimary, s.Role)
		a.Empty(s.Suspended)
	})
	assert.Equal(t, []string{"resource-options meta --quorum=off"}, b.drbd.commands())
}

// TestNineNeedsBothToBePromoted: what was left from an earlier time alone does not
// count.
func TestNineNeedsBothToBePromoted(t *testing.T) {
	drbd := newFakeDRBD(t)
	drbd.refuse["resource-options meta --quorum=2"] = []error{refusal("busy")}

	a := nineActions(drbd, nil)
	require.Error(t, a.promote(t.Context(), wanted(func(*ReplicaSpecSpec) {}), func() kernel { return kernel{} }))
	assert.NotContains(t, drbd.commands(), "primary meta")

	require.NoError(t, a.drbd.NeedBoth(t.Context(), wanted(func(s *ReplicaSpecSpec) { s.Peer = "" })))
	assert.Len(t, drbd.commands(), 1, "a cluster of one needs nobody")
}

func TestForceOfNine(t *testing.T) {
	b := newBenchOf(t, Version9, lonely(RolePrimary, diskUpToDate, "quorum")...)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted, s.Force = RolePrimary, 3, true, true })
	require.Eventually(t, func() bool { return len(b.drbd.commands()) >= 3 }, 10*time.Second, time.Millisecond)

	b.want(func(s *ReplicaSpecSpec) { s.Epoch, s.Formatted = 4, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(PhaseUp, s.Phase)
		a.Equal(RoleSecondary, s.Role)
		a.Equal(uint64(4), s.Epoch)
	})
	assert.Equal(t, []string{"secondary meta --force", "down meta", "adjust meta"}, b.drbd.commands())
}

func TestNinePartsFromAPeerThatHangs(t *testing.T) {
	b := newBenchOf(t, Version9, running(RoleSecondary)...)
	b.drbd.refuse["primary meta"] = []error{refusal("(-1) Multiple primaries not allowed by config"), refusal("(-1) Multiple primaries not allowed by config")}

	b.promote(2)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.ReadyFor(2)) })
	assert.Contains(t, b.drbd.commands(), "disconnect meta 1 --force")
}

// TestNineNeedsBothBeforeThePeerIsTakenForUpToDate: the other order would leave a
// moment in which it writes alone and the quorum believes the peer to have it.
func TestNineNeedsBothBeforeThePeerIsTakenForUpToDate(t *testing.T) {
	for name, want := range map[string]bool{"healthy": true, "peer-lost": false, "resync": false, "alone": false, "none": false} {
		t.Run(name, func(t *testing.T) {
			drbd := newFakeDRBD(t)
			drbd.status = statusOfNine(t, name)

			got, err := nineActions(drbd, nil).drbd.PeerUpToDate(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Equal(t, []string{"resource-options meta --quorum=2", "status --json meta"}, drbd.commands())
		})
	}

	drbd := newFakeDRBD(t)
	drbd.status = statusOfNine(t, "healthy")
	drbd.refuse["resource-options meta --quorum=2"] = []error{refusal("busy")}

	got, err := nineActions(drbd, nil).drbd.PeerUpToDate(t.Context())
	require.Error(t, err)
	assert.False(t, got)
	assert.NotContains(t, drbd.commands(), "status --json meta")
}
