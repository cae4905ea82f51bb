package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProgramIsKeptInMemory(t *testing.T) {
	require.NoError(t, keepProgramInMemory())

	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`VmLck:\s+[1-9]\d* kB`), string(status))
}
