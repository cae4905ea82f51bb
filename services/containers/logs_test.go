package containers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func appendLog(t *testing.T, path, text string) {
	t.Helper()

	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)

	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestTailFollowsThroughTruncation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "master.log")
		ctx, cancel := context.WithCancel(t.Context())

		var lines []string

		appendLog(t, path, "one\ntwo\nthree\n")

		go func() {
			err := TailLog(ctx, dir, "master", 2, true, func(line string) error {
				lines = append(lines, line)

				return nil
			})
			assert.NoError(t, err)
		}()

		time.Sleep(time.Second)
		appendLog(t, path, "fo")
		time.Sleep(time.Second)
		appendLog(t, path, "ur\n")
		time.Sleep(time.Second)
		require.NoError(t, boundLog(path, 3))
		appendLog(t, path, "five\n")
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		assert.Equal(t, []string{"two", "three", "four", "five"}, lines)
	})
}

func TestWhatWasThereIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "antlerd.log")

	appendLog(t, path, "one\n")

	var lines []string

	follow, err := FollowLog(dir, "antlerd", func(line string) error {
		lines = append(lines, line)

		return nil
	})
	require.NoError(t, err)

	appendLog(t, path, "two\n")

	ctx, end := context.WithCancel(t.Context())
	end()

	require.NoError(t, follow(ctx))
	require.Equal(t, []string{"two"}, lines)
}

func TestTailRefusesPaths(t *testing.T) {
	require.Error(t, TailLog(t.Context(), "/", "../etc/passwd", 1, false, nil))
}

func TestBoundLogsKeepsTheEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master.log")

	for i := range 300 {
		appendLog(t, path, fmt.Sprintf("line %03d\n", i))
	}

	require.NoError(t, boundLogs(dir, 900))

	kept, err := os.ReadFile(path + ".1")
	require.NoError(t, err)
	assert.Len(t, kept, 900)
	assert.True(t, strings.HasSuffix(string(kept), "line 299\n"))

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Size())
}
