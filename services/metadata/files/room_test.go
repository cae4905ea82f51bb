package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMakeRoom(t *testing.T) {
	dir := t.TempDir()
	needed := []string{"metadata.mfs.back", "changelog.0.mfs", "changelog.1.mfs"}

	for _, name := range append(needed, "metadata.mfs.back.1", "metadata.mfs.back.2", "metadata.mfs.back.tmp") {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o600))
	}

	for _, want := range []string{"metadata.mfs.back.tmp", "metadata.mfs.back.2", "metadata.mfs.back.1", ""} {
		removed, err := MakeRoom(dir)
		require.NoError(t, err)
		require.Equal(t, want, removed)
	}

	for _, name := range needed {
		require.FileExists(t, filepath.Join(dir, name))
	}
}
