package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndLocks(t *testing.T) {
	const metadata = "metadata.mfs.back"

	for name, tc := range map[string]struct {
		files map[string]string
		// newest is the changelog that is appended to, want what is.
		newest, want string
	}{
		"nothing is there": {},
		"a new master":     {files: map[string]string{"metadata.mfs": Empty}},
		"nobody writes":    {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": changes(10, 12)}},
		"the answer was under way": {
			files:  map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(4,0,0,1):76\n11: 1700|UNLOCK(76)\n12: 1701|WRITE(5,0,1,1):77\n13: 1702|ACCESS(1)\n"},
			newest: "changelog.0.mfs", want: "14: 1702|UNLOCK(77)\n",
		},
		"of two, in order": {
			files:  map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):78\n11: 1700|WRITE(6,0,0,1):77\n"},
			newest: "changelog.0.mfs", want: "12: 1700|UNLOCK(77)\n13: 1700|UNLOCK(78)\n",
		},
		"it was written and ended": {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1701|LENGTH(5,3,0)\n12: 1701|UNLOCK(77)\n"}},
		"and written again": {
			files:  map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1701|UNLOCK(77)\n12: 1701|WRITE(5,0,0,1):77\n"},
			newest: "changelog.0.mfs", want: "13: 1701|UNLOCK(77)\n",
		},
		"it could not be made": {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1701|ROLLBACK(5,0,0,77)\n"}},
		"the chunk is gone":    {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1701|CHUNKDEL(77,1)\n"}},
		"another one is gone": {
			files:  map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1701|CHUNKDEL(1,77)\n12: 1701|ROLLBACK(77,0,0,1)\n"},
			newest: "changelog.0.mfs", want: "13: 1701|UNLOCK(77)\n",
		},
		"the first chunk in the log may be an old one": {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,1,1):77\n"}},
		"a new version, which no chunkserver may have": {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1700|WRITE(6,0,0,1):78\n12: 1700|UNLOCK(78)\n13: 1700|WRITE(5,0,1,1):77\n"}},
		"truncated, with a new version":                {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1700|TRUNC(5,0):77\n"}},
		"its client has the answer for long":           {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1711|ACCESS(1)\n"}},
		"across a rotation": {
			files:  map[string]string{metadata: metadataFile(12, 7), "changelog.1.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1700|WRITE(6,0,1,1):78\n", "changelog.0.mfs": "12: 1701|UNLOCK(77)\n"},
			newest: "changelog.0.mfs", want: "13: 1701|UNLOCK(78)\n",
		},
		"after a clean stop": {
			files:  map[string]string{"metadata.mfs": metadataFile(12, 7), "changelog.1.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1700|ACCESS(1)\n"},
			newest: "changelog.1.mfs", want: "12: 1700|UNLOCK(77)\n",
		},
		"the metadata goes further":           {files: map[string]string{metadata: metadataFile(13, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: 1700|ACCESS(1)\n"}},
		"what was before a gap is not known":  {files: map[string]string{metadata: metadataFile(13, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n13: 1700|ACCESS(1)\n"}},
		"what was before damage is not known": {files: map[string]string{metadata: metadataFile(10, 7), "changelog.0.mfs": "10: 1700|WRITE(5,0,0,1):77\n11: \x00\x00\n12: 1700|ACCESS(1)\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, tc.files)

			before, err := ReadStored(dir)
			require.NoError(t, err)

			for range 2 {
				_, err = EndLocks(dir)
				require.NoError(t, err)
			}

			for file, content := range tc.files {
				after, err := os.ReadFile(filepath.Join(dir, file))
				require.NoError(t, err)

				if file == tc.newest {
					content += tc.want
				}

				require.Equal(t, content, string(after), file)
			}

			after, err := ReadStored(dir)
			require.NoError(t, err)
			require.GreaterOrEqual(t, after.Version, before.Version)
		})
	}
}

// Only the end of a long changelog is read.
func TestEndLocksReadsTheEnd(t *testing.T) {
	long := "1: 1700000000|WRITE(5,0,0,1):77\n" + changes(2, 200_000) + "200001: 1700000000|WRITE(6,0,0,1):78\n"
	require.Greater(t, len(long), recentSize)

	dir := directory(t, map[string]string{"metadata.mfs.back": metadataFile(1, 7), "changelog.0.mfs": long})

	ended, err := EndLocks(dir)
	require.NoError(t, err)
	require.Equal(t, 1, ended)

	tail, err := readTail(filepath.Join(dir, "changelog.0.mfs"), 64)
	require.NoError(t, err)
	require.Equal(t, "200002: 1700000000|UNLOCK(78)\n", string(tail))
}
