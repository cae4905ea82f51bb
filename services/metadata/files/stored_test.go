package files

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// image is a complete metadata file with nothing in it.
func image(version, id uint64) string {
	header := []byte("MFSM 2.0")
	header = binary.BigEndian.AppendUint64(header, version)
	header = binary.BigEndian.AppendUint64(header, id)

	return string(header) + "sections" + eofMark
}

func TestReadStored(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  Stored
	}{
		"nothing":        {map[string]string{}, Stored{}},
		"a new master":   {map[string]string{"metadata.mfs": Empty}, Stored{New: true}},
		"a clean stop":   {map[string]string{"metadata.mfs": image(42, 7)}, Stored{Version: 42, ID: 7}},
		"a torn dump":    {map[string]string{"metadata.mfs": image(42, 7)[:30]}, Stored{}},
		"a foreign file": {map[string]string{"metadata.mfs": "something of somebody else's, long enough to be read as a header"}, Stored{}},
		"a crash": {
			map[string]string{"metadata.mfs.back": image(42, 7), "changelog.0.mfs": "42: 1|A\n43: 1|B\n", "changelog.1.mfs": "41: 1|C\n"},
			Stored{Version: 44, ID: 7},
		},
		"a crash in mid-line": {
			map[string]string{"metadata.mfs.back": image(42, 7), "changelog.0.mfs": "42: 1|A\n43: 1|"},
			Stored{Version: 43, ID: 7},
		},
		"a crash after a rotation": {
			map[string]string{"metadata.mfs.back": image(42, 7), "changelog.0.mfs": "", "changelog.1.mfs": "50: 1|A\n"},
			Stored{Version: 51, ID: 7},
		},
		"a crash before the first dump": {
			map[string]string{"metadata.mfs": Empty, "changelog.0.mfs": "1: 1|SETMETAID(7)\n2: 1|A\n"},
			Stored{New: true, Version: 3},
		},
		"an interrupted save": {
			map[string]string{"metadata.mfs.back": image(42, 7), "metadata.mfs.back.tmp": image(60, 7)[:40], "changelog.0.mfs": "59: 1|A\n"},
			Stored{Version: 60, ID: 7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range test.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
			}

			stored, err := ReadStored(dir)

			require.NoError(t, err)
			require.Equal(t, test.want, stored)
		})
	}
}

func TestCutTornChange(t *testing.T) {
	for content, want := range map[string]string{
		"":                     "",
		"1: 1|A\n":             "1: 1|A\n",
		"1: 1|A\n2: 1|B":       "1: 1|A\n",
		"1: 1|A\n2":            "1: 1|A\n",
		"torn before any line": "",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "changelog.0.mfs")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))

		cut, err := CutTornChange(dir)
		require.NoError(t, err)

		left, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(left))
		require.Equal(t, int64(len(content)-len(want)), cut)
	}
}

func TestLastTime(t *testing.T) {
	dir := t.TempDir()

	at, err := LastTime(dir)
	require.NoError(t, err)
	require.True(t, at.IsZero())

	for name, content := range map[string]string{
		"changelog.0.mfs": "42: 1795402287|A\n43: 1795402299|B\n44: 1795409999|tor", "changelog.1.mfs": "41: 1795405555|C\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}

	at, err = LastTime(dir)
	require.NoError(t, err)
	require.Equal(t, time.Unix(1795405555, 0), at, "the clock was ahead then, and chunks may be locked until that")
}
