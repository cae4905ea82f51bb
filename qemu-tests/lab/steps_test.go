package lab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStepTimes(t *testing.T) {
	zero := time.Unix(100, 0)
	at := func(ms int, node, kind string) Event {
		return Event{Time: zero.Add(time.Duration(ms) * time.Millisecond), Node: node, Kind: kind}
	}
	steps := []Step{
		{Name: "saved", Kinds: []string{"metadata.saved"}, MayMiss: true},
		{Name: "noticed", Kinds: []string{"authority.granted"}},
		{Name: "promoted", Kinds: []string{"replication.promoted"}},
		{Name: "started", Kinds: []string{"metadata.master-started", "metadata.adopted"}},
	}
	events := []Event{
		at(5000, "n2", "metadata.master-started"),
		at(-200, "n1", "authority.granted"),
		at(4100, "n3", "authority.granted"),
		at(4000, "n2", "authority.granted"),
		at(3990, "n2", "replication.promoted"),
	}

	times, err := StepTimes(zero, events, steps)
	require.NoError(t, err)
	require.Equal(t, []time.Duration{0, 4 * time.Second, 0, time.Second}, times)

	_, err = StepTimes(zero, events[1:], steps)
	require.ErrorContains(t, err, `"started"`)
}

func TestMedian(t *testing.T) {
	for name, tc := range map[string]struct{ times, want []time.Duration }{
		"none": {nil, []time.Duration{0, 0}},
		"odd":  {[]time.Duration{9, 1, 3}, []time.Duration{3, 9}},
		"even": {[]time.Duration{4, 1, 9, 2}, []time.Duration{3, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			median, worst := Median(tc.times)
			require.Equal(t, tc.want, []time.Duration{median, worst})
		})
	}
}
