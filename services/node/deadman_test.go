package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeadman(t *testing.T) {
	type observation struct {
		at      time.Duration
		until   time.Duration // the end of the lease
		serving bool
		reset   bool
		again   time.Duration
	}

	for name, history := range map[string][]observation{
		"a holder with a lease lives, and is looked at when it ends": {
			{at: 0, until: 3 * time.Second, serving: true, again: 3 * time.Second},
			{at: 3 * time.Second, until: 5 * time.Second, serving: true, again: 2 * time.Second},
		},
		"stopping in time is enough": {
			{at: 0, serving: true, again: time.Second},
			{at: 900 * time.Millisecond, serving: true, again: 100 * time.Millisecond},
			{at: 950 * time.Millisecond},
			{at: time.Hour},
		},
		"a master that doesn't stop costs the node": {
			{at: 0, until: 5 * time.Second, serving: true, again: 5 * time.Second},
			{at: 5 * time.Second, until: 5 * time.Second, serving: true, again: time.Second},
			{at: 6 * time.Second, until: 5 * time.Second, serving: true, reset: true},
		},
		"a lease regained starts the clock anew": {
			{at: 0, serving: true, again: time.Second},
			{at: 500 * time.Millisecond, until: time.Second, serving: true, again: 500 * time.Millisecond},
			{at: 2 * time.Second, until: time.Second, serving: true, again: time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			d := deadman{deadline: time.Second}

			for _, o := range history {
				reset, again := d.verdict(start.Add(o.at), start.Add(o.until), o.serving)
				require.Equal(t, o.reset, reset, "reset at %s", o.at)
				require.Equal(t, o.again, again, "asked again after %s", o.at)
			}
		})
	}
}
