package main

import (
	"os"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
)

func TestTheProgramIsFound(t *testing.T) {
	parts, err := program()
	require.NoError(t, err)

	code := 0

	for _, part := range parts {
		if part.Perms.Execute {
			code++
		}
	}

	require.NotZero(t, code, "its code is a part of it")
}

func TestTheProgramIsKeptInMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("others than root may not keep as much in memory")
	}

	require.NoError(t, keepProgramInMemory())

	self, err := procfs.Self()
	require.NoError(t, err)

	status, err := self.NewStatus()
	require.NoError(t, err)
	require.Positive(t, status.VmLck)
}
