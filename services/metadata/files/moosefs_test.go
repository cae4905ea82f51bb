package files

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBackupAndChunksOfAnotherCluster needs mfsmaster and mfschunkserver, built for
// a user "root", and a network of its own, as a chunkserver connects to no loopback
// address:
//
//	unshare -n sh -c 'ip link set lo up; ip addr add 192.0.2.1/32 dev lo
//		ANTLER_TEST_MOOSEFS_BIN=/usr/sbin go test -run AnotherCluster -v ./services/metadata/files'
//
// It shows what docs/design says of the ids: chunks of one file system are left
// alone by the master of another, and found by one that was restored.
func TestBackupAndChunksOfAnotherCluster(t *testing.T) {
	bin := os.Getenv("ANTLER_TEST_MOOSEFS_BIN")
	if bin == "" {
		t.Skip("ANTLER_TEST_MOOSEFS_BIN is not set to a directory with mfsmaster and mfschunkserver")
	}

	l := lab{T: t, bin: bin, chunks: filepath.Join(t.TempDir(), "chunks")}
	require.NoError(t, os.Mkdir(l.chunks, 0o700))

	old := l.dir(map[string]string{"metadata.mfs": Empty})
	stop, _ := l.master(old)
	store, ended := l.chunkserver(t.TempDir())
	id := l.awaitID(l.chunks, ".metaid", 0)

	store()
	<-ended
	stop()

	backup := filepath.Join(t.TempDir(), "backup")
	source, err := Places{Node: "n1", Data: old}.CopyReplica(t.Context(), backup)
	require.NoError(t, err)
	require.Equal(t, id, fmt.Sprintf("%016x", source.ID))

	// A new cluster with a file system of its own.
	stop, _ = l.master(l.dir(map[string]string{"metadata.mfs": Empty}))
	_, ended = l.chunkserver(t.TempDir())
	l.awaitEnd(ended, "the chunkserver serves another file system's master")
	require.Equal(t, id, l.awaitID(l.chunks, ".metaid", 0), "the disk is left alone")
	stop()

	// One that goes on from the backup.
	restored := filepath.Join(t.TempDir(), "mfs")
	require.NoError(t, Install(backup, restored, Stored{Version: source.Version, ID: source.ID}))

	l.master(restored)
	own := t.TempDir()
	l.chunkserver(own)
	require.Equal(t, id, l.awaitID(own, "chunkserverid.mfs", 2), "it has heard the id from the master")
}

// lab runs MooseFS's programs.
type lab struct {
	*testing.T

	bin, chunks string
}

func (l lab) dir(files map[string]string) string {
	dir := l.TempDir()

	for name, content := range files {
		require.NoError(l, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}

	return dir
}

func (l lab) master(data string) (kill func(), ended <-chan struct{}) {
	etc := l.dir(map[string]string{"mfsexports.cfg": "* / rw\n", "mfstopology.cfg": ""})

	return l.run("mfsmaster", map[string]string{
		"DATA_PATH": data, "EXPORTS_FILENAME": filepath.Join(etc, "mfsexports.cfg"), "TOPOLOGY_FILENAME": filepath.Join(etc, "mfstopology.cfg"),
	}, "-a")
}

func (l lab) chunkserver(data string) (kill func(), ended <-chan struct{}) {
	etc := l.dir(map[string]string{"mfshdd.cfg": l.chunks + "\n"})

	return l.run("mfschunkserver", map[string]string{
		"DATA_PATH": data, "HDD_CONF_FILENAME": filepath.Join(etc, "mfshdd.cfg"), "MASTER_HOST": "192.0.2.1", "MASTER_RECONNECTION_DELAY": "1",
		"HDD_LEAVE_SPACE_DEFAULT": "1MiB",
	})
}

// run a program until kill is called or the test is over.
func (l lab) run(program string, settings map[string]string, args ...string) (kill func(), ended <-chan struct{}) {
	text := "WORKING_USER = root\nWORKING_GROUP = root\nLOCK_MEMORY = 0\n"
	for name, value := range settings {
		text += name + " = " + value + "\n"
	}

	ctx, cancel := context.WithCancel(context.Background())
	config := filepath.Join(l.dir(map[string]string{"cfg": text}), "cfg")
	command := exec.CommandContext(ctx, filepath.Join(l.bin, program), append([]string{"-f", "-c", config}, append(args, "start")...)...)
	command.Stdout, command.Stderr = l.Output(), l.Output()
	require.NoError(l, command.Start())

	done := make(chan struct{})

	go func() {
		defer close(done)

		_ = command.Wait()
	}()

	kill = func() {
		cancel()
		<-done
	}
	l.Cleanup(kill)

	return kill, done
}

// awaitID waits for the file, and returns the metadata's id in it.
func (l lab) awaitID(dir, name string, at int) string {
	var content []byte

	require.Eventually(l, func() bool {
		content, _ = os.ReadFile(filepath.Join(dir, name))

		return len(content) == at+8
	}, time.Minute, 50*time.Millisecond, "%s has no %s", dir, name)

	return fmt.Sprintf("%016x", content[at:])
}

func (l lab) awaitEnd(ended <-chan struct{}, otherwise string) {
	select {
	case <-ended:
	case <-time.After(time.Minute):
		require.Fail(l, otherwise)
	}
}
