package authority_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

func TestLeaseFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")
	memory := authority.LeaseFile(path)

	_, known, err := memory.Recall()
	require.NoError(t, err)
	require.False(t, known, "nothing was written down since the boot")

	require.NoError(t, memory.Remember(time.Hour))

	left, known, err := memory.Recall()
	require.NoError(t, err)
	require.True(t, known)
	require.LessOrEqual(t, left, time.Hour)
	require.Greater(t, left, 59*time.Minute)

	for _, over := range []time.Duration{0, -time.Second, math.MinInt64} {
		require.NoError(t, memory.Remember(over))

		left, known, err = memory.Recall()
		require.NoError(t, err)
		require.True(t, known)
		require.Zero(t, left, "a lease that is over")
	}
}

// What can't be read must not make a lease longer.
func TestLeaseFileThatIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease")

	for _, content := range []string{"", "99999999999999999", "soon\n", "99999999999999999999999999\n"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))

		left, known, err := authority.LeaseFile(path).Recall()
		require.NoError(t, err)
		require.True(t, known)
		require.Zero(t, left, "%q", content)
	}
}

// A run of antlerd that follows a killed one leaves what serves alone until the
// lease of that one is over, and no longer: the leader waits for no more.
func TestALaterRunInheritsTheLease(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	config := c.nodes["n1"].config
	config.Listener = nil
	config.Members[0].Voter, config.Members[1].Voter = false, false

	now := time.Now()
	config.Now = func() time.Time { return now }

	for name, tc := range map[string]struct {
		remembered *time.Duration
		lasts      time.Duration
	}{
		"nothing is known":     {nil, config.Timing.LeaseTTL},
		"a lease is left":      {new(config.Timing.LeaseTTL / 4), config.Timing.LeaseTTL / 4},
		"a hold is left":       {new(3 * config.Timing.LeaseTTL), 3 * config.Timing.LeaseTTL},
		"it is over":           {new(time.Duration), 0},
		"more than ever lasts": {new(time.Hour), config.Timing.LeaseTTL + authority.MaxHold},
	} {
		config.Memory = remembered{tc.remembered}

		a, err := authority.New(config)
		require.NoError(t, err)

		s, _ := a.Status()
		require.Equal(t, tc.lasts > 0, s.Starting, name)
		require.Equal(t, tc.lasts > 0, s.MayServe(), name)
		require.Equal(t, tc.lasts > 0, !a.MayServeUntil().IsZero(), name)

		started := now
		now = started.Add(tc.lasts)

		s, _ = a.Status()
		require.False(t, s.Starting, name)

		if tc.lasts > 0 {
			now = started.Add(tc.lasts - 1)
			s, _ = a.Status()
			require.True(t, s.Starting, name)
		}

		now = started
	}
}

type remembered struct{ left *time.Duration }

func (remembered) Remember(time.Duration) error { return nil }

func (r remembered) Recall() (time.Duration, bool, error) {
	if r.left == nil {
		return 0, false, nil
	}

	return *r.left, true, nil
}
