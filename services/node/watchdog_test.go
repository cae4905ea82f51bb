package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatchdogIsDisarmedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog")
	device, err := os.Create(path)
	require.NoError(t, err)

	w := &Watchdog{device: device}
	require.NoError(t, w.Feed())
	require.NoError(t, w.Disarm())
	require.NoError(t, w.Disarm(), "whoever stops last says so again")
	require.Error(t, w.Feed())

	said, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "\x00V", string(said))
}

func TestAWatchdogMustNotBeSlowerThanAskedFor(t *testing.T) {
	refused := errors.New("not supported")

	for name, tc := range map[string]struct {
		has            int
		setErr, getErr error
		want           string
	}{
		"as asked for": {has: 15},
		"shorter":      {has: 10},
		"longer":       {has: 16, want: "set watchdog to 15 s: it has 16 s"},
		"not set":      {has: 60, setErr: refused, want: "set watchdog to 15 s: it keeps its 60 s: not supported"},
		"not known":    {getErr: refused, want: "set watchdog to 15 s: how long it has can't be read: not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTimeout(15, tc.has, tc.setErr, tc.getErr)
			if tc.want == "" {
				require.NoError(t, err)

				return
			}

			require.ErrorContains(t, err, tc.want)
		})
	}
}
