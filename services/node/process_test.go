package node_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node"
)

func TestProcessCanAnswer(t *testing.T) {
	require.True(t, node.ProcessCanAnswer(os.Getpid()))
	require.False(t, node.ProcessWaitsForDisk(os.Getpid()))

	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	require.False(t, node.ProcessCanAnswer(gone.Process.Pid))
}
