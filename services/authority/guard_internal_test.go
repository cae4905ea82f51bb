package authority

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheShorterWordBinds(t *testing.T) {
	const short, long = 20 * time.Second, 40 * time.Second

	on := func(boot string, ttl time.Duration) Guard { return Guard{Boot: boot, TTLMS: ttl.Milliseconds()} }

	for name, tc := range map[string]struct {
		offer    time.Duration
		recorded Guard
		want     time.Duration
	}{
		"offered and not recorded yet": {long, Guard{}, long},
		"made longer":                  {long, on("b", short), short},
		"made shorter":                 {short, on("b", long), short},
		"taken back, still recorded":   {0, on("b", long), long},
		"taken back":                   {0, Guard{}, 0},
		"of the last boot":             {0, on("a", long), 0},
		"of the last boot, and new":    {short, on("a", long), short},
	} {
		require.Equal(t, tc.want, guardFor(tc.offer, tc.recorded, "b"), name)
	}
}

func TestANodeThatSleptThroughItsResetIsReset(t *testing.T) {
	a := &Authority{config: Config{Self: "n1", Boot: "b"}, guardedUntil: time.Now().Add(time.Hour)}

	for boot, over := range map[string]bool{"b": true, "a": false} {
		a.record.Guards = map[string]Guard{"n1": {Boot: boot, TTLMS: 1, Dead: true}}

		until, bound := a.GuardedUntil()
		require.True(t, bound)
		require.Equal(t, over, until.IsZero(), boot)
	}
}
