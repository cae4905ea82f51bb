package node_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node"
)

func TestResidentSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	builtin := filepath.Join(dir, "modules.builtin")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "drbd"), 0o755))
	require.NoError(t, os.WriteFile(builtin, []byte("kernel/fs/fuse/fuse.ko\nkernel/lib/lru-cache.ko\n"), 0o600))

	loader := node.Resident{SysModule: dir, Builtin: builtin, OnDemand: []string{"vsock"}}

	for _, there := range []string{"drbd", "fuse", "lru_cache", "vsock"} {
		require.NoError(t, loader.Load(t.Context(), there), there)
	}

	require.EqualError(t, loader.Load(t.Context(), "dm_mod", "a=1", "b=2"),
		"kernel module dm_mod is not loaded: add it to machine.kernel.modules of this node's machine configuration with the parameters a=1 b=2")

	require.NoError(t, os.Remove(builtin))
	require.ErrorContains(t, loader.Load(t.Context(), "dm_mod"), "look whether kernel module dm_mod is built in")
}
