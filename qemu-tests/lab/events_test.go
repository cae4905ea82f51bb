package lab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseEvent(t *testing.T) {
	event, ok := ParseEvent(`[   13.98] antlerd[189]: antler-event: {"time":"2026-01-02T03:04:05.6Z","node":"n1","kind":"address.added","epoch":3,"message":"x"}`)

	require.True(t, ok)
	require.Equal(t, "n1", event.Node)
	require.Equal(t, uint64(3), event.Epoch)

	for _, line := range []string{"", "antler-event: ", "antler-event: {", "no event"} {
		_, ok = ParseEvent(line)
		require.False(t, ok, line)
	}
}

func TestLateStops(t *testing.T) {
	at := func(seconds int64, node, kind string, epoch uint64) Event {
		return Event{Time: time.Unix(seconds, 0), Node: node, Kind: kind, Epoch: epoch}
	}
	n2 := []Event{at(10, "n2", "authority.granted", 2), at(15, "n2", "metadata.master-started", 2), at(30, "n2", "authority.granted", 2)}

	for name, test := range map[string]struct {
		stopped int64
		late    int
	}{"in time": {9, 0}, "late": {12, 1}, "later than the second telling": {31, 1}} {
		t.Run(name, func(t *testing.T) {
			n1 := []Event{at(1, "n1", "authority.granted", 1), at(2, "n1", "metadata.master-started", 1), at(test.stopped, "n1", "metadata.master-killed", 1)}
			intervals := append(ServingIntervals(n1), ServingIntervals(n2)...)

			require.Len(t, LateStops(append(n1, n2...), intervals), test.late)
		})
	}
}

func TestServingIntervalsAndOverlaps(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seconds int, node, kind string, epoch uint64) Event {
		return Event{Time: start.Add(time.Duration(seconds) * time.Second), Node: node, Kind: kind, Epoch: epoch}
	}
	n1 := []Event{
		at(1, "n1", "metadata.master-started", 1), at(2, "n1", "metadata.master-killed", 1),
		at(3, "n1", "metadata.master-started", 1), at(10, "n1", powerCutKind, 0),
	}

	for name, test := range map[string]struct {
		n2       []Event
		problems int
	}{
		"one after the other":    {n2: []Event{at(11, "n2", "metadata.master-started", 2)}},
		"at the same time":       {n2: []Event{at(9, "n2", "metadata.master-started", 2)}, problems: 1},
		"in the same epoch":      {n2: []Event{at(11, "n2", "metadata.master-started", 1)}, problems: 2},
		"between two of n1's":    {n2: []Event{at(2, "n2", "metadata.master-started", 2), at(3, "n2", "metadata.master-stopped", 2)}},
		"all the time, demoted":  {n2: []Event{at(0, "n2", "metadata.master-started", 0), at(1, "n2", "replication.demoted", 0)}},
		"all the time, never on": {n2: []Event{at(0, "n2", "metadata.master-started", 0)}, problems: 2},
	} {
		t.Run(name, func(t *testing.T) {
			intervals := append(ServingIntervals(n1), ServingIntervals(test.n2)...)

			require.Len(t, Overlaps(intervals), test.problems)
		})
	}
}

// A machine that resets itself, or that its watchdog does, has no time left to tell of it.
func TestAResetEndsServing(t *testing.T) {
	c := newConsole()
	c.add("[  161.5] antlerd[184]: antler-event: {\"node\":\"n1\",\"kind\":\"metadata.master-started\",\"epoch\":7}\n" +
		"[  192.549571] one\n[  192.549570] the other\nlab-begin-9\nx y # [    0.5] Booting Linux\n[    0.6] more\n")

	events := append(c.Events(0), c.resets(0, "n1")...)
	require.Len(t, events, 2)

	intervals := ServingIntervals(events)
	require.Len(t, intervals, 1)
	require.Equal(t, events[1].Time, intervals[0].To)
}
