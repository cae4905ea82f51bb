package replication

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// comparing has them compared at once, with what is found.
func comparing(differ ...int) func(*bench) {
	return func(b *bench) { b.compareAfter, b.drbd.differ = time.Millisecond, differ }
}

// sound is comparing on a node whose replica is known to be whole.
func sound(differ ...int) func(*bench) {
	return func(b *bench) {
		comparing(differ...)(b)
		require.NoError(b.t, b.sound.set())
	}
}

func serves(s *ReplicaSpecSpec) {
	s.Role, s.Epoch, s.Formatted, s.PeerTrusted = RolePrimary, 3, true, true
}

func standsBy(s *ReplicaSpecSpec) { s.Epoch, s.Formatted = 3, true }

// begun waits until it has seen what was there before it.
func (b *bench) begun() {
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(uint64(3), s.Epoch) })
}

const (
	partFromPeer = "disconnect ipv4:10.0.0.1:7789 ipv4:10.0.0.2:7789 --force"
	compareAll   = "verify 0 --start=0"
	readResult   = "events2 --now --statistics meta"

	// What the other side's comparison looks like here.
	beingCompared = "change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:VerifyT"
	wasCompared   = "change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established"
)

func TestReplicasThatAreTheSame(t *testing.T) {
	b := newBenchAfter(t, comparing(0), Version84, running(RolePrimary)...)

	b.want(serves)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.False(s.Compared.IsZero())
		a.Empty(s.Comparison)
		a.True(s.Sound)
		a.Empty(s.Error)
	})

	assert.Contains(t, b.events.all(), "replication.compared")
	assert.Equal(t, []string{compareAll, readResult}, b.drbd.commands(), "once, and not parted from")
}

func TestReplicasThatDifferAreMadeEqual(t *testing.T) {
	b := newBenchAfter(t, sound(128, 0), Version84, running(RolePrimary)...)

	b.want(serves)

	// They are parted and connected, which has DRBD copy what differs, and compared again.
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.False(s.Compared.IsZero())
		a.Empty(s.Error, "all is well again")
	})

	events := b.events.all()
	require.Contains(t, events, "replication.differed")
	assert.Less(t, slices.Index(events, "replication.differed"), slices.Index(events, "replication.compared"))
	assert.Equal(t, []string{compareAll, readResult, partFromPeer, "connect meta", compareAll, readResult}, b.drbd.commands())
}

// The disk of this very node may be the one that forgot.
func TestReplicasThatDifferAreLeftAloneWhereNobodyKnowsWhichIsRight(t *testing.T) {
	b := newBenchAfter(t, comparing(128), Version84, running(RolePrimary)...)

	b.want(serves)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Contains(s.Error, "128 KiB differ")
		a.Equal(ComparisonDifferent, s.Comparison)
	})
	assert.Equal(t, []string{compareAll, readResult}, b.drbd.commands())
	assert.Contains(t, b.events.all(), "replication.differed")
}

func TestWhoMayNotServeComparesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		role Role
		spec func(*ReplicaSpecSpec)
	}{
		"one that hands over": {RolePrimary, func(s *ReplicaSpecSpec) { serves(s); s.PeerTrusted = false }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchAfter(t, sound(64), Version84, running(test.role)...)

			b.want(test.spec)
			b.begun()
			b.drbd.tell(beingCompared, wasCompared)
			b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Contains(s.Error, "64 KiB differ") })
			assert.NotContains(t, b.drbd.commands(), compareAll)
			assert.NotContains(t, b.drbd.commands(), partFromPeer)
		})
	}
}

// What it holds was written by somebody who may have worked from something else.
func TestAStandbyThatDiffersIsNotSound(t *testing.T) {
	served := running(RoleSecondary)
	served[1] = strings.Replace(served[1], "role:Secondary", "role:Primary", 1)

	for name, test := range map[string]struct {
		running []string
		then    []string
		sound   bool
	}{
		"stands by":                            {running: running(RoleSecondary), sound: true},
		"differs":                              {running: running(RoleSecondary), then: []string{beingCompared, wasCompared}},
		"stands by an antlerd before this one": {running: served, sound: true},
		"was never compared since they were connected": {running: served, then: []string{
			"change connection name:meta peer-node-id:0 conn-name:peer connection:NetworkFailure role:Unknown",
			"change connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Primary",
		}},
		"gets the other's":     {running: running(RoleSecondary), then: []string{strings.Replace(beingCompared, "VerifyT", "SyncTarget", 1)}},
		"has another disk now": {running: running(RoleSecondary), then: []string{"destroy resource name:meta"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchAfter(t, sound(64), Version84, test.running...)

			b.want(standsBy)
			b.begun()
			b.drbd.tell(test.then...)
			b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(test.sound, s.Sound) })
			assert.NotContains(t, b.drbd.commands(), partFromPeer)
		})
	}
}

// Whoever serves tells that they are going to be compared, also an antlerd that was
// started since, which doesn't know whether its predecessor had it done.
func TestReplicasThatAreGoingToBeCompared(t *testing.T) {
	for name, test := range map[string]struct {
		role Role
		spec func(*ReplicaSpecSpec)
		want Comparison
	}{
		"serves":    {RolePrimary, serves, ComparisonOutstanding},
		"stands by": {RoleSecondary, standsBy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchAfter(t, func(b *bench) {
				sound()(b)
				b.compareAfter = time.Hour
			}, Version84, running(test.role)...)

			b.want(test.spec)
			b.begun()
			b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(test.want, s.Comparison) })
		})
	}
}

// A comparison that a lost disk has ended says nothing.
func TestAComparisonThatWasBrokenOff(t *testing.T) {
	b := newBenchAfter(t, func(b *bench) {
		sound(64)(b)
		b.drbd.peerDisk = diskDiskless
	}, Version84, running(RoleSecondary)...)

	b.want(standsBy)
	b.begun()
	b.drbd.tell(beingCompared, wasCompared)

	require.Eventually(t, func() bool { return slices.Contains(b.drbd.commands(), readResult) }, 10*time.Second, time.Millisecond)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Zero(s.Compared)
		a.True(s.Sound, "as it was")
		a.Empty(s.Error)
	})
}

func TestWhenAComparisonIsNext(t *testing.T) {
	k := kernel{
		known: true, exists: true, role: RolePrimary, disk: diskUpToDate, connection: connected,
		peerRole: RoleSecondary, peerDisk: diskUpToDate, replication: established,
	}
	var s situation

	for name, test := range map[string]struct {
		change func()
		want   step
	}{
		"due":                      {func() {}, stepCompare},
		"not due":                  {func() { s.compare = false }, stepNone},
		"it hands over":            {func() { s.spec.PeerTrusted = false }, stepNone},
		"a resync goes on":         {func() { s.kernel.replication = "SyncSource" }, stepMeasure},
		"frozen":                   {func() { s.kernel.suspended = "user" }, stepNone},
		"to be judged first":       {func() { s.judge = true }, stepJudge},
		"nothing is wanted":        {func() { s.judge, s.spec.Role, s.compare = true, "", false }, stepNone},
		"parted from":              {func() { s.kernel.connection = standAlone }, stepConnect},
		"before the quorum's word": {func() { s.kernel.connection, s.fencing = standAlone, true }, stepNone},
	} {
		t.Run(name, func(t *testing.T) {
			s = situation{spec: new(wanted(serves)), kernel: k, compare: true}
			test.change()
			assert.Equal(t, test.want, next(s))
		})
	}
}

// The other side asked, so this one only takes note.
func TestAStandbyKnowsThatItIsTheSame(t *testing.T) {
	b := newBenchAfter(t, comparing(0), Version84, running(RoleSecondary)...)

	b.want(standsBy)
	b.begun()
	assert.Empty(t, b.drbd.commands(), "it doesn't serve")

	b.drbd.tell(beingCompared)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.Comparing) })

	b.drbd.tell(wasCompared)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.False(s.Comparing)
		a.False(s.Compared.IsZero())
		a.True(s.Sound)
	})
	assert.NotContains(t, b.events.all(), "replication.compared", "one tells")
}

// It can't be sound any more: what is attached next is another disk, or one that erred.
func TestALostDiskIsNotSound(t *testing.T) {
	b := newBenchAfter(t, sound(), Version84, running(RolePrimary)...)
	b.compareAfter = time.Hour

	b.want(serves)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.Sound) })

	b.drbd.tell("change device name:meta volume:0 minor:0 disk:Failed", "change device name:meta volume:0 minor:0 disk:Diskless")
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.False(s.Sound) })
}

func TestDRBD9IsNotCompared(t *testing.T) {
	b := newBenchAfter(t, comparing(64), Version9, running(RolePrimary)...)

	b.want(serves)
	b.begun()
	b.drbd.tell(beingCompared, wasCompared)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.True(s.ReadyFor(3))
		a.False(s.Comparing)
		a.Empty(s.Comparison, "there is nothing to wait for")
	})
	assert.Empty(t, b.drbd.commands())
}

func TestWhenReplicasAreCompared(t *testing.T) {
	now := time.Now()
	c := comparison{after: time.Minute, every: time.Hour}
	is := func(connection string, connects int) kernel {
		return kernel{known: true, connection: connection, connects: connects, replication: established}
	}

	up, away, again := is(connected, 1), is("Connecting", 1), is(connected, 2)

	c.note(kernel{}, away, now)
	assert.Zero(t, c.wait(now), "alone")

	c.note(away, again, now)
	assert.Equal(t, time.Minute, c.wait(now))
	assert.False(t, c.isDue(now))
	assert.True(t, c.isDue(now.Add(time.Minute)))

	// A resync is not over.
	syncing := again
	syncing.replication = "SyncSource"
	now = now.Add(30 * time.Second)

	c.note(again, syncing, now)
	assert.Equal(t, time.Minute, c.wait(now))

	c.note(syncing, again, now)
	assert.Equal(t, time.Minute, c.wait(now), "from its end")

	// What was found is of the connection that is gone, whether that was seen or not.
	for _, after := range []kernel{away, again} {
		after.compared = 4
		c.at, c.due, c.judged = now, now.Add(c.every), 3

		c.note(up, after, now)
		assert.Zero(t, c.at)
		assert.NotEqual(t, now.Add(c.every), c.due)
		assert.Equal(t, 4, c.judged, "nobody can read any more what was found")
	}

	// Replicas that differ again and again are compared more and more rarely.
	c.differed = 2
	c.note(away, up, now)
	assert.Equal(t, 4*time.Minute, c.wait(now))

	c.differed = 1000
	c.note(away, up, now)
	assert.Equal(t, 64*time.Minute, c.wait(now))
}
