package clock_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"antler/services/node/clock"
)

func TestAClockNeverStaysBehind(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	month := 30 * 24 * time.Hour

	for name, tc := range map[string]struct {
		at          time.Time
		disciplined bool
		fails       error
		want        time.Time
		// says is what the log has about a clock that stays behind.
		says string
	}{
		"behind":                    {at: now.Add(month), want: now.Add(month)},
		"behind by what may be":     {at: now.Add(clock.Tolerance), want: now},
		"ahead":                     {at: now.Add(-month), want: now},
		"kept right":                {at: now.Add(month), disciplined: true, want: now, says: "the other one is wrong"},
		"after the certificate":     {at: now.Add(12 * month), want: now, says: "a month longer than 2026-08-28"},
		"not allowed to set clocks": {at: now.Add(month), fails: errors.New("EPERM"), want: now, says: "EPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			is := now
			events := 0
			core, log := observer.New(zap.InfoLevel)
			c := &clock.Clock{
				Now:         func() time.Time { return is },
				Disciplined: func() (bool, error) { return tc.disciplined, nil },
				Set: func(at time.Time) error {
					if tc.fails == nil {
						is = at
					}

					return tc.fails
				},
				Limit: now.Add(6 * month), Emit: func(string, string) { events++ }, Logger: zap.New(core),
			}

			for range 2 {
				c.Heard("the clock of n2", tc.at)
			}

			require.Equal(t, tc.want, is)
			require.Equal(t, !tc.want.Equal(now), events == 1)

			if tc.says == "" {
				require.Empty(t, log.All())

				return
			}

			require.Len(t, log.All(), 1, "it says so once")
			require.Contains(t, log.All()[0].ContextMap()["why"], tc.says)
		})
	}
}

// The clock that was set back goes on from where it was, unless NTP did it.
func TestAClockIsNotSetBack(t *testing.T) {
	begun := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

	for name, disciplined := range map[string]bool{"by hand": false, "by NTP": true} {
		t.Run(name, func(t *testing.T) {
			var (
				passed, off time.Duration
				sets        []time.Time
			)

			c := &clock.Clock{
				Now:         func() time.Time { return begun.Add(passed + off) },
				Passed:      func() time.Duration { return passed },
				Disciplined: func() (bool, error) { return disciplined, nil },
				Set: func(at time.Time) error {
					sets, off = append(sets, at), at.Sub(begun)-passed

					return nil
				},
				Limit: begun.Add(time.Hour), Emit: func(string, string) {}, Logger: zap.NewNop(),
			}

			c.Keep()

			passed, off = time.Minute, -30*time.Minute

			c.Keep()

			want := []time.Time{begun.Add(time.Minute)}
			if disciplined {
				want = nil
			}

			require.Equal(t, want, sets)

			// From here on either is what the clock has shown.
			passed += time.Second

			c.Keep()
			require.Equal(t, want, sets)

			off += 10 * time.Minute

			c.Keep()
			require.Equal(t, want, sets, "ahead is where it may be put")
		})
	}
}
