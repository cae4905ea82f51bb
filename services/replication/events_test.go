package replication

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded returns a recording, and the state after each of its lines.
func recorded(t *testing.T, name string) ([]string, []kernel) {
	t.Helper()

	text, err := os.ReadFile("testdata/" + name + ".events")
	require.NoError(t, err)

	var (
		k      kernel
		states []kernel
	)

	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		e, ok := parseEvent(line)
		require.True(t, ok, line)

		k = k.apply(e)
		states = append(states, k)
	}

	return lines, states
}

func kinds(states []kernel) []string {
	var out []string

	before := kernel{known: true}
	for _, k := range states {
		if !k.known {
			continue
		}

		for _, c := range changes(before, k) {
			out = append(out, c.kind)
		}

		before = k
	}

	return out
}

func TestEventsBeforeTheEndOfTheListingAreNotKnown(t *testing.T) {
	_, states := recorded(t, "promote-and-down")

	assert.False(t, states[3].known)
	assert.True(t, states[4].known)
	assert.Equal(t, kernel{
		known: true, exists: true, role: RoleSecondary, disk: diskInconsistent, connection: connected, connects: 1,
		peerRole: RoleSecondary, peerDisk: diskInconsistent, replication: "Established",
	}, states[4])
}

func TestEventsOfPromoteAndDown(t *testing.T) {
	lines, states := recorded(t, "promote-and-down")

	assert.Equal(t, RolePrimary, states[7].role, lines[7])
	assert.Equal(t, standAlone, states[len(states)-3].connection)
	assert.Equal(t, kernel{known: true}, states[len(states)-1], "nothing is left of a resource that is gone")
	assert.Equal(t, []string{
		"replication.connected", "replication.promoted", "replication.demoted", "replication.disconnected", "replication.io-error",
	}, kinds(states)[:5])
}

func TestEventsOfAForcedDown(t *testing.T) {
	_, states := recorded(t, "peer-killed-handler-refused-forced")
	frozen, last := states[14], states[len(states)-1]

	assert.Equal(t, suspendedFencing, frozen.suspended)
	assert.Equal(t, "Connecting", frozen.connection)
	assert.Empty(t, last.suspended)
	assert.Equal(t, diskDiskless, last.disk)
	assert.Equal(t, RolePrimary, last.role)
	assert.Equal(t, 1, last.failures)
}

func TestEventsOfAResync(t *testing.T) {
	_, states := recorded(t, "boot-and-resync")
	last := states[len(states)-1]

	assert.True(t, last.syncing())
	assert.Equal(t, diskInconsistent, last.disk)
	assert.Equal(t, diskUpToDate, last.peerDisk)
	assert.Contains(t, kinds(states), "replication.resync-started")
	assert.NotContains(t, kinds(states), "replication.split-brain", "before-resync-target is no split brain")
}

func TestStatistics(t *testing.T) {
	text, err := os.ReadFile("testdata/statistics-connecting.events")
	require.NoError(t, err)

	k := replay(string(text))
	assert.Equal(t, uint64(262100), k.size)
	assert.Equal(t, uint64(262100), k.outOfSync)
	assert.InDelta(t, 100, k.inSync(), 0, "nothing is being synchronised")

	k.replication, k.outOfSync = "SyncTarget", k.size/4
	assert.InDelta(t, 75, k.inSync(), 0.01)
}

func TestSplitBrainUntilConnected(t *testing.T) {
	k := replay(`exists resource name:meta role:Secondary suspended:no
exists -
call helper name:meta peer-node-id:0 conn-name:peer helper:split-brain
destroy connection name:meta peer-node-id:0 conn-name:peer
`)
	assert.True(t, k.splitBrain)
	assert.True(t, k.alone())

	e, ok := parseEvent("change connection name:meta peer-node-id:0 conn-name:peer connection:Connected")
	require.True(t, ok)

	k = k.apply(e)
	assert.False(t, k.splitBrain)

	// One that DRBD ends by itself, by a person's word: called after the connection's
	// event.
	e, ok = parseEvent("call helper name:meta peer-node-id:0 conn-name:peer helper:initial-split-brain")
	require.True(t, ok)
	assert.False(t, k.apply(e).splitBrain)
}

func TestEventsOfOthersAreIgnored(t *testing.T) {
	before := kernel{known: true, exists: true, role: RolePrimary}

	e, ok := parseEvent("destroy resource name:other")
	require.True(t, ok)
	assert.Equal(t, before, before.apply(e))

	for _, line := range []string{"", "exists", "0: Failure: (127) Device minor not allocated", "change resource name"} {
		_, ok := parseEvent(line)
		assert.False(t, ok, line)
	}
}

// No line may bring the parser down, or make what is there disappear.
func FuzzParseEvent(f *testing.F) {
	f.Add("change resource name:meta role:Primary")
	f.Add("exists -")
	f.Add("change device name:meta : :: disk:")

	f.Fuzz(func(t *testing.T, line string) {
		if e, ok := parseEvent(line); ok {
			k := kernel{known: true}.apply(e)
			if !k.known {
				t.Errorf("%q made everything unknown", line)
			}
		}
	})
}
