package metadata

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/metadata/files"
)

// replicaDisk makes a file system with metadata up to the version in a file, marked
// as a power cut leaves it.
func replicaDisk(t *testing.T, version uint64) string {
	t.Helper()

	root := t.TempDir()
	data := filepath.Join(root, "mfs")
	require.NoError(t, os.Mkdir(data, 0o750))

	content := binary.BigEndian.AppendUint64([]byte("MFSM 2.0"), 10)
	content = append(binary.BigEndian.AppendUint64(content, 7), "content[MFS EOF MARKER]"...)
	require.NoError(t, os.WriteFile(filepath.Join(data, "metadata.mfs"), content, 0o600))

	var changes strings.Builder
	for v := uint64(10); v < version; v++ {
		fmt.Fprintf(&changes, "%d: 1700000000|ACCESS(1)\n", v)
	}

	require.NoError(t, os.WriteFile(filepath.Join(data, "changelog.0.mfs"), []byte(changes.String()), 0o600))

	for _, name := range []string{"metadata.mfs", "changelog.0.mfs"} {
		require.NoError(t, os.Chtimes(filepath.Join(data, name), lastChange(), lastChange()))
	}

	disk := filepath.Join(t.TempDir(), "disk")
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", root, disk, "32M")
	run(t, "debugfs", "-w", "-R", "feature needs_recovery", disk)

	return disk
}

// lastChange is when the metadata on it was last written to.
func lastChange() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func run(t *testing.T, command ...string) {
	t.Helper()

	// Debian keeps these away from the PATH of most people.
	path, err := exec.LookPath(command[0])
	if err != nil {
		path = "/usr/sbin/" + command[0]
	}

	output, err := exec.CommandContext(t.Context(), path, command[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", command, output)
}

func newAside(t *testing.T, device string) *Aside {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")

	return &Aside{Device: device, Data: "/mfs", Scratch: filepath.Join(t.TempDir(), "aside"), Backups: filepath.Join(t.TempDir(), "backups"), Node: "n1"}
}

func TestAsideSavesWhatIsOnADisk(t *testing.T) {
	disk := replicaDisk(t, 21)
	before, err := os.ReadFile(disk)
	require.NoError(t, err)

	a := newAside(t, disk)

	for range 2 {
		source, err := a.Save(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 21, source.Version)
		require.Equal(t, "n1/backup-replica-0000000000000007-21", source.Name)
		require.FileExists(t, filepath.Join(source.Path, "metadata.mfs.back"))
		require.NoDirExists(t, a.Scratch)
		require.Equal(t, lastChange(), source.Time.UTC())

		saved, err := files.ReadSource(source.Path)
		require.NoError(t, err)
		require.Equal(t, lastChange(), saved.Time.UTC(), "how old it is is seen in the copy, too")

		entries, err := os.ReadDir(a.Backups)
		require.NoError(t, err)
		require.Len(t, entries, 1, "the same content is saved once")
	}

	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the disk itself stays as it is")
}

func TestAsideSaysWhatIsNotSaved(t *testing.T) {
	blank := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(blank, make([]byte, 4<<20), 0o600))

	empty := filepath.Join(t.TempDir(), "disk")
	run(t, "mke2fs", "-q", "-t", "ext4", empty, "32M")

	for device, want := range map[string]string{
		blank:                                 "replay the journal",
		empty:                                 "no such source",
		filepath.Join(t.TempDir(), "missing"): "no such file",
	} {
		a := newAside(t, device)
		require.ErrorContains(t, a.SaveAside(t.Context()), want)
		require.NoDirExists(t, a.Scratch)

		entries, _ := os.ReadDir(a.Backups)
		require.Empty(t, entries)
	}
}

func TestAsideLeavesRoom(t *testing.T) {
	content := append(bytes.Repeat([]byte{1}, copyBlock), make([]byte, 3*copyBlock)...)
	content = append(content, bytes.Repeat([]byte{2}, copyBlock/2)...)

	copied := func(ctx context.Context, room int64) ([]byte, error) {
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		require.NoError(t, err)

		defer file.Close()

		err = copySparse(ctx, bytes.NewReader(content), file, room)
		if err != nil {
			return nil, err
		}

		return os.ReadFile(file.Name())
	}

	got, err := copied(t.Context(), copyBlock+copyBlock/2)
	require.NoError(t, err, "zeros need no room")
	require.True(t, bytes.Equal(content, got))

	_, err = copied(t.Context(), copyBlock)
	require.ErrorContains(t, err, "there is no room")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err = copied(ctx, 1<<30)
	require.ErrorIs(t, err, context.Canceled)
}
