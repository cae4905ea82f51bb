package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnwantedProgramsAreRefused(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"usr/bin/antlerd", "usr/bin/telnet", "usr/sbin/mfsmaster"} {
		require.NoError(t, put(filepath.Join(root, name), nil, 0o755))
	}
	require.NoError(t, refuseUnwanted(root))

	for _, name := range []string{"usr/bin/python3.13", "usr/sbin/sshd", "usr/bin/ssh-keygen"} {
		require.NoError(t, put(filepath.Join(root, name), nil, 0o755))
		require.ErrorContains(t, refuseUnwanted(root), "/"+name+" must not be in the image")
	}
}
