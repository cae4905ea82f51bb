package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANodeThatIsNotFinishedHasNoKey(t *testing.T) {
	n := node{out: t.TempDir()}
	stage := filepath.Join(n.out, "root")

	require.ErrorIs(t, n.finish(stage, "7.2.0", "key"), os.ErrNotExist)
	require.NoFileExists(t, filepath.Join(n.out, keyFile))

	require.NoError(t, os.MkdirAll(filepath.Join(stage, "usr/lib/modules/7.2.0"), 0o755))
	require.NoError(t, n.finish(stage, "7.2.0", "key"))
	require.FileExists(t, filepath.Join(n.out, keyFile))
	require.DirExists(t, filepath.Join(n.out, "modules/7.2.0"))
	require.NoDirExists(t, stage)
}

func TestAnArchiveThatIsCutShortIsAnError(t *testing.T) {
	programs, dir, to := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "archive")
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))

	program := func(name, script string) {
		require.NoError(t, os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	program("cpio", "cat")
	program("zstd", `while [ "$1" != -o ]; do shift; done; cat > "$2"`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "init"), nil, 0o755))
	require.NoError(t, archive(t.Context(), dir, to))

	packed, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "init\n", string(packed))

	program("cpio", "cat; exit 1")
	require.Error(t, archive(t.Context(), dir, to))
}
