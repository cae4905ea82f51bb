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
		"after the certificate":     {at: now.Add(12 * month), want: now, says: "good until 2026-08-28 only"},
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
