package containers

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// standBy starts what a spare runs, and returns when it waits.
func standBy(t *testing.T, places Places, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()

	require.NoError(t, os.MkdirAll(places.etc("spare"), 0o755))
	require.NoError(t, places.makePipe("spare"))

	line := waiting(places.pipe("spare"), args)
	waits := exec.Command(line[0], line[1:]...)
	output := &bytes.Buffer{}
	waits.Stdout = output
	require.NoError(t, waits.Start())

	return waits, output
}

func TestSpareBecomesItsProgram(t *testing.T) {
	places := DefaultPlaces(t.TempDir())
	waits, output := standBy(t, places, "/bin/echo", "two words", "$0")

	require.Eventually(t, func() bool { return places.pull("spare") == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, waits.Wait())
	assert.Equal(t, "two words $0\n", output.String())

	// It waits no more, and a program that runs is not dismissed.
	require.Error(t, places.pull("spare"))

	dismissed, err := places.dismiss("spare")
	require.NoError(t, err)
	assert.False(t, dismissed)
}

func TestSpareIsDismissed(t *testing.T) {
	places := DefaultPlaces(t.TempDir())
	waits, output := standBy(t, places, "/bin/echo", "never")

	require.Eventually(t, func() bool {
		dismissed, err := places.dismiss("spare")

		return err == nil && dismissed
	}, 10*time.Second, time.Millisecond)
	require.Error(t, waits.Wait())
	assert.Empty(t, output.String())
}

func TestNoSpare(t *testing.T) {
	places := DefaultPlaces(t.TempDir())

	dismissed, err := places.dismiss("nobody")
	require.NoError(t, err)
	assert.False(t, dismissed)
	require.Error(t, places.pull("nobody"))
}
