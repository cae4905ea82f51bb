package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeadman(t *testing.T) {
	type observation struct {
		at             time.Duration
		lease, serving bool
		reset          bool
		again          time.Duration
	}

	for name, history := range map[string][]observation{
		"a holder with a lease lives": {
			{at: 0, lease: true, serving: true},
			{at: time.Hour, lease: true, serving: true},
		},
		"stopping in time is enough": {
			{at: 0, lease: false, serving: true, again: time.Second},
			{at: 900 * time.Millisecond, lease: false, serving: true, again: 100 * time.Millisecond},
			{at: 950 * time.Millisecond, lease: false, serving: false},
			{at: time.Hour, lease: false, serving: false},
		},
		"a master that doesn't stop costs the node": {
			{at: 0, lease: true, serving: true},
			{at: 5 * time.Second, lease: false, serving: true, again: time.Second},
			{at: 6 * time.Second, lease: false, serving: true, reset: true},
		},
		"a lease regained starts the clock anew": {
			{at: 0, lease: false, serving: true, again: time.Second},
			{at: 500 * time.Millisecond, lease: true, serving: true},
			{at: 2 * time.Second, lease: false, serving: true, again: time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			d := deadman{deadline: time.Second}

			for _, o := range history {
				reset, again := d.verdict(start.Add(o.at), o.lease, o.serving)
				require.Equal(t, o.reset, reset, "reset at %s", o.at)
				require.Equal(t, o.again, again, "asked again after %s", o.at)
			}
		})
	}
}
