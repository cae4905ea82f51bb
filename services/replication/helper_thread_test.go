package replication

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHelperThreads(t *testing.T) {
	dir := t.TempDir()
	h := Helpers{Proc: dir}

	_, err := h.Running()
	require.Error(t, err, "there is no /proc without processes")

	process := func(pid, name string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, pid), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, pid, "comm"), []byte(name+"\n"), 0o600))
	}

	process("1", "systemd")
	process("599", "drbd_w_meta")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "600"), 0o755))

	running, err := h.Running()
	require.NoError(t, err)
	require.False(t, running)

	process("700", "drbd_async_h")

	running, err = h.Running()
	require.NoError(t, err)
	require.True(t, running)

	running, err = Helpers{Proc: "/proc"}.Running()
	require.NoError(t, err)
	require.False(t, running)
}
