package node

import (
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
