package containers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClearBundle(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "mfsmaster")
	require.NoError(t, clearBundle(bundle), "there is none")

	require.NoError(t, os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), []byte("{}"), 0o600))
	require.NoError(t, clearBundle(bundle))
	assert.NoDirExists(t, bundle)
}

// What is mounted there is not ours to remove.
func TestClearBundleGoesNoDeeper(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "mfsmaster")
	precious := filepath.Join(bundle, "rootfs", "usr")
	require.NoError(t, os.MkdirAll(precious, 0o700))
	require.Error(t, clearBundle(bundle))
	assert.DirExists(t, precious)
}
