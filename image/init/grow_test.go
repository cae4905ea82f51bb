package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/require"
)

// flashed is a disk of the given size with an image of 64 MiB on it: a 16 MiB
// partition and the state behind it.
func flashed(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	disk, err := file.CreateFromPath(path, 64<<20)
	require.NoError(t, err)
	defer disk.Close()
	w, err := disk.Writable()
	require.NoError(t, err)
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, Size: 16 << 20, Type: gpt.LinuxFilesystem, Name: "antler-root"},
		{Index: 2, Start: 2048 + 16<<11, Size: 46 << 20, Type: gpt.LinuxFilesystem, Name: "antler-state"},
	}}
	require.NoError(t, table.Write(w, 64<<20))
	require.NoError(t, os.Truncate(path, size))
	return path
}

func open(t *testing.T, path string) backend.Storage {
	t.Helper()
	disk, err := file.OpenFromPath(path, false)
	require.NoError(t, err)
	t.Cleanup(func() { disk.Close() })
	return disk
}

// state reads the table back, and both copies of it.
func stateOn(t *testing.T, path string) (start, end uint64) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	disk := open(t, path)
	table, err := gpt.Read(disk, sector, sector)
	require.NoError(t, err)
	require.False(t, table.RecoveredFromBackup)
	require.NoError(t, table.Verify(disk, uint64(info.Size())), "the second copy is at the disk's end")
	return table.Partitions[1].Start, table.Partitions[1].End
}

func TestGrowTableTakesTheWholeCard(t *testing.T) {
	path := flashed(t, 1<<30)
	grown, err := growTable(open(t, path), 2)
	require.NoError(t, err)
	require.Equal(t, uint64(1<<30-17<<20-1<<20), grown.Size)

	start, end := stateOn(t, path)
	require.Equal(t, uint64(17<<11), start)
	require.Equal(t, uint64(1<<30-1<<20)/sector-1, end)

	again, err := growTable(open(t, path), 2)
	require.NoError(t, err)
	require.Nil(t, again, "a second boot changes nothing")
}

func TestGrowTableLeavesAloneWhatItShould(t *testing.T) {
	exact := flashed(t, 64<<20)
	before, err := os.ReadFile(exact)
	require.NoError(t, err)
	grown, err := growTable(open(t, exact), 2)
	require.NoError(t, err)
	require.Nil(t, grown, "the disk has no more room")
	after, err := os.ReadFile(exact)
	require.NoError(t, err)
	require.Equal(t, before, after)

	grown, err = growTable(open(t, flashed(t, 1<<30)), 1)
	require.NoError(t, err)
	require.Nil(t, grown, "not the last partition")
}

// cutDisk loses power after some writes.
type cutDisk struct {
	backend.Storage
	left *int
}

type cutFile struct {
	backend.WritableFile
	left *int
}

var errCut = errors.New("power cut")

func (d cutDisk) Writable() (backend.WritableFile, error) {
	w, err := d.Storage.Writable()
	return cutFile{w, d.left}, err
}

func (f cutFile) WriteAt(p []byte, off int64) (int, error) {
	if *f.left == 0 {
		return 0, errCut
	}
	*f.left--
	return f.WritableFile.WriteAt(p, off)
}

func TestGrowTableSurvivesAPowerCutAtEveryWrite(t *testing.T) {
	for writes := 0; ; writes++ {
		path, left := flashed(t, 1<<30), writes
		_, err := growTable(cutDisk{open(t, path), &left}, 2)
		if err == nil {
			require.Positive(t, writes)
			return
		}
		require.ErrorContains(t, err, errCut.Error())
		// Whichever copy is good, the next boot goes on.
		_, err = growTable(open(t, path), 2)
		require.NoError(t, err, "after %d writes", writes)
		_, end := stateOn(t, path)
		require.Equal(t, uint64(1<<30-1<<20)/sector-1, end, "after %d writes", writes)
	}
}
