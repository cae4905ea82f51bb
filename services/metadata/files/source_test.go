package files

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// metadataFile is one as mfsmaster writes it, as far as its ends go.
func metadataFile(version, id uint64) string {
	header := binary.BigEndian.AppendUint64([]byte("MFSM 2.0"), version)

	return string(binary.BigEndian.AppendUint64(header, id)) + "content" + eofMark
}

func changes(first, last uint64) string {
	var b strings.Builder
	for version := first; version <= last; version++ {
		fmt.Fprintf(&b, "%d: 1700000000|ACCESS(1)\n", version)
	}

	return b.String()
}

func directory(t *testing.T, files map[string]string) string {
	t.Helper()

	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}

	return dir
}

func TestReadSource(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   map[string]string
		version uint64
		problem string
	}{
		{"nothing", nil, 0, "no complete metadata file"},
		{"metadata alone", map[string]string{"metadata.mfs": metadataFile(10, 7)}, 10, ""},
		{"the better of two", map[string]string{"metadata.mfs.back": metadataFile(10, 7), "metadata.mfs.back.1": metadataFile(5, 7)}, 10, ""},
		{"torn metadata", map[string]string{"metadata.mfs.back": metadataFile(10, 7)[:30], "metadata.mfs.back.1": metadataFile(5, 7)}, 5, ""},
		{"a metalogger's", map[string]string{
			"metadata_ml.mfs.back": metadataFile(10, 7), "changelog_ml.1.mfs": changes(8, 12), "changelog_ml.0.mfs": changes(13, 20),
		}, 21, ""},
		{"what a metalogger fetched at its start overlaps", map[string]string{
			"metadata_ml.mfs.back": metadataFile(10, 7), "changelog_ml_back.0.mfs": changes(8, 15), "changelog_ml.0.mfs": changes(12, 20),
		}, 21, ""},
		{"a torn last line", map[string]string{"metadata.mfs.back": metadataFile(10, 7), "changelog.0.mfs": changes(10, 12) + "13: 17000"}, 13, ""},
		{"a gap between files", map[string]string{
			"metadata.mfs.back": metadataFile(10, 7), "changelog.1.mfs": changes(10, 12), "changelog.0.mfs": changes(15, 20),
		}, 13, "the changes 13 to 14 are missing"},
		{"a gap within a file", map[string]string{"metadata.mfs.back": metadataFile(10, 7), "changelog.0.mfs": changes(10, 12) + changes(14, 15)}, 13, "13 to 13 are missing"},
		{"changes that begin too late", map[string]string{"metadata.mfs.back": metadataFile(10, 7), "changelog.0.mfs": changes(11, 15)}, 10, "10 to 10 are missing"},
		{"a young file system's: no metadata file was made yet", map[string]string{
			"metadata_ml.tmp": Empty, "changelog_ml_back.0.mfs": "1: 1700000000|SETMETAID(7)\n" + changes(2, 15), "changelog_ml.0.mfs": changes(10, 20),
		}, 21, ""},
		{"a young one's, but for the first changes", map[string]string{"changelog_ml.0.mfs": changes(2, 15)}, 0, "no complete metadata file"},
		{"changes without metadata", map[string]string{"changelog_ml.0.mfs": changes(1, 15)}, 0, "no complete metadata file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source, err := ReadSource(directory(t, tc.files))
			require.NoError(t, err)
			require.Equal(t, tc.version, source.Version)
			require.Contains(t, source.Problem, tc.problem)

			if tc.problem == "" {
				require.Empty(t, source.Problem)
				require.EqualValues(t, 7, source.ID)
				require.False(t, source.Time.IsZero())
			}
		})
	}
}

func TestFetchStageInstall(t *testing.T) {
	root := t.TempDir()
	backups := t.TempDir()
	places := Places{Node: "n3", Data: filepath.Join(root, "mfs"), SavedIn: root, Backups: []string{backups}, Metalogger: directory(t, map[string]string{
		"metadata_ml.mfs.back": metadataFile(10, 7), "changelog_ml.1.mfs": changes(8, 12), "changelog_ml.0.mfs": changes(13, 20) + "21: 1",
		"changelog_ml.9.mfs": changes(1, 3), "sessions_ml.mfs": "no part of it",
	})}

	stagePath := filepath.Join(t.TempDir(), "restore")
	stage, err := NewStage(stagePath)
	require.NoError(t, err)
	require.NoError(t, places.Fetch("n3/metalogger", stage.Add))

	staged, err := stage.Close()
	require.NoError(t, err)
	require.EqualValues(t, 21, staged.Version)

	names, err := filepath.Glob(filepath.Join(stagePath, "*"))
	require.NoError(t, err)
	require.Len(t, names, 3, "only what is needed, under a master's names: %v", names)

	// What was there is put aside, and stays a source.
	require.NoError(t, os.Mkdir(places.Data, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(places.Data, "metadata.mfs"), []byte(metadataFile(15, 7)), 0o600))

	for range 2 {
		require.NoError(t, Install(stagePath, places.Data, Stored{Version: 21, ID: 7}))

		sources := places.Sources()
		require.Len(t, sources, 3)
		require.Equal(t, []string{"n3/replica", "n3/metalogger", "n3/saved-1"}, []string{sources[0].Name, sources[1].Name, sources[2].Name})
		require.EqualValues(t, 21, sources[0].Version)
		require.EqualValues(t, 15, sources[2].Version)
	}

	// A copy that was kept elsewhere is a source again.
	kept, err := NewStage(filepath.Join(backups, "2026-11-21"))
	require.NoError(t, err)
	require.NoError(t, places.Fetch("n3/replica", kept.Add))

	_, err = kept.Close()
	require.NoError(t, err)

	last := places.Sources()[3]
	require.Equal(t, "n3/backup-2026-11-21", last.Name)
	require.EqualValues(t, 21, last.Version)

	// Nothing but what the quorum agreed to.
	require.ErrorContains(t, Install(stagePath, places.Data, Stored{Version: 30, ID: 7}), "the quorum agreed to version 30")
	require.ErrorContains(t, Install(stagePath, places.Data, Stored{Version: 22, ID: 8}), "the quorum agreed")

	require.ErrorIs(t, places.Fetch("n3/saved-7", stage.Add), ErrNoSource)
}

func TestFetchOfAYoungFileSystem(t *testing.T) {
	places := Places{Node: "n3", Metalogger: directory(t, map[string]string{
		"changelog_ml_back.0.mfs": "1: 1700000000|SETMETAID(7)\n" + changes(2, 15), "changelog_ml.0.mfs": changes(10, 20),
	})}

	stage, err := NewStage(filepath.Join(t.TempDir(), "restore"))
	require.NoError(t, err)
	require.NoError(t, places.Fetch("n3/metalogger", stage.Add))

	staged, err := stage.Close()
	require.NoError(t, err)
	require.EqualValues(t, 21, staged.Version)
	require.EqualValues(t, 7, staged.ID)
}

func TestStageTakesNoOtherNames(t *testing.T) {
	stage, err := NewStage(filepath.Join(t.TempDir(), "restore"))
	require.NoError(t, err)

	for _, name := range []string{"", "../metadata.mfs", "metadata.mfs", "changelog.0.mfs/x", "mfsmaster.cfg"} {
		require.Error(t, stage.Add(name, []byte("x")), name)
	}
}
