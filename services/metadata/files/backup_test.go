package files

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// servingNode is n1 with metadata up to version 21 on its replica.
func servingNode(t *testing.T) Backups {
	t.Helper()

	dir := t.TempDir()

	return Backups{Dir: dir, Places: Places{
		Node: "n1", Backups: []string{dir},
		Data: directory(t, map[string]string{"metadata.mfs": metadataFile(10, 7), "changelog.0.mfs": changes(10, 20)}),
	}}
}

func at(hour int) time.Time { return time.Date(2026, time.March, 1, hour, 0, 0, 0, time.UTC) }

func TestABackupIsASource(t *testing.T) {
	b := servingNode(t)

	source, err := b.Make(t.Context(), at(12), 21)
	require.NoError(t, err)
	require.Equal(t, "n1/backup-20260301T120000Z-n1", source.Name)
	require.EqualValues(t, 21, source.Version)

	sources := b.Places.Sources()
	require.Len(t, sources, 2)
	require.Equal(t, source.Name, sources[1].Name)
	require.EqualValues(t, 21, sources[1].Version)

	newest, err := b.Newest()
	require.NoError(t, err)
	require.Equal(t, at(12), newest)

	// It is what a restore stages.
	stage, err := NewStage(filepath.Join(t.TempDir(), "restore"))
	require.NoError(t, err)
	require.NoError(t, b.Places.Fetch(source.Name, stage.Add))

	staged, err := stage.Close()
	require.NoError(t, err)
	require.EqualValues(t, 21, staged.Version)

	_, err = b.Make(t.Context(), at(12), 21)
	require.ErrorContains(t, err, "is there already", "never over another one")
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		breaks func(t *testing.T, b *Backups)
		want   string
	}{
		{"lacks what was served", func(*testing.T, *Backups) {}, "it reaches version 21, and version 22 was served"},
		{"no directory", func(_ *testing.T, b *Backups) { b.Dir = filepath.Join(b.Dir, "not-mounted") }, "no such file or directory"},
		{"nothing to be read", func(t *testing.T, b *Backups) { b.Places.Data = t.TempDir() }, "no such source that could be loaded"},
		{"a gap", func(t *testing.T, b *Backups) {
			require.NoError(t, os.WriteFile(filepath.Join(b.Places.Data, "changelog.0.mfs"), []byte(changes(10, 12)+changes(15, 30)), 0o600))
		}, "the changes 13 to 14 are missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := servingNode(t)
			dir := b.Dir

			tc.breaks(t, &b)

			_, err := b.Make(t.Context(), at(12), 22)
			require.ErrorContains(t, err, tc.want)

			entries, err := os.ReadDir(dir)
			require.NoError(t, err)

			for _, entry := range entries {
				require.False(t, entry.IsDir(), entry)
			}
		})
	}
}

// A give-up unmounts the replica: nothing of it may stay open.
func TestABackupEndsWithItsContext(t *testing.T) {
	b := servingNode(t)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := b.Make(ctx, at(12), 21)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, below(b.Dir, ""))
}

// Nothing is open while what was read is being handed on, and another file under
// the same name is noticed.
func TestFetchHoldsNothingOpen(t *testing.T) {
	b := servingNode(t)
	path := filepath.Join(b.Places.Data, "metadata.mfs")
	require.NoError(t, os.WriteFile(path, []byte(metadataFile(10, 7)[:24]+strings.Repeat("x", 3*chunkSize)+eofMark), 0o600))

	seen := 0

	err := b.Places.Fetch("n1/replica", func(string, []byte) error {
		seen++

		open, err := filepath.Glob("/proc/self/fd/*")
		require.NoError(t, err)

		for _, fd := range open {
			target, _ := os.Readlink(fd)
			require.NotEqual(t, path, target)
		}

		if seen == 2 {
			require.NoError(t, os.WriteFile(path+".new", []byte(metadataFile(12, 7)), 0o600))
			require.NoError(t, os.Rename(path+".new", path))
		}

		return nil
	})
	require.ErrorContains(t, err, "was replaced while it was being read")
	require.Equal(t, 2, seen)
}

func TestPruneRemovesTheOldestOfThisNodeOnly(t *testing.T) {
	b := servingNode(t)

	other := b
	other.Places.Node = "n2"

	for hour := range 5 {
		_, err := b.Make(t.Context(), at(hour), 21)
		require.NoError(t, err)
	}

	_, err := other.Make(t.Context(), at(1), 21)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(b.Dir, "2026-01-01"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(b.Dir, "20260101T000000Z-n1-kept"), 0o700))

	require.NoError(t, b.Prune(2))

	var names []string
	for _, dir := range below(b.Dir, "") {
		names = append(names, filepath.Base(dir))
	}

	want := []string{"20260101T000000Z-n1-kept", "20260301T010000Z-n2", "20260301T030000Z-n1", "20260301T040000Z-n1", "2026-01-01"}
	slices.Sort(want)
	require.Equal(t, want, names)

	require.NoError(t, b.Prune(0), "the newest stays in any case")

	newest, err := b.Newest()
	require.NoError(t, err)
	require.Equal(t, at(4), newest)
}
