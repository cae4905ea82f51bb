package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMakeRoom(t *testing.T) {
	whole, torn := image(42, 7), image(42, 7)[:30]
	const gone = "metadata.mfs.back.tmp, metadata.mfs.back.2"

	for name, tc := range map[string]struct {
		base map[string]string
		want string
	}{
		"a dump that changelogs go on from": {map[string]string{"metadata.mfs.back": whole}, gone},
		"after a clean stop":                {map[string]string{"metadata.mfs": whole}, gone},
		"its last dump is torn":             {map[string]string{"metadata.mfs.back": torn}, ""},
		"killed between two renames":        {map[string]string{}, ""},
		"a master that never saved":         {map[string]string{"metadata.mfs.back": Empty}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			others := []string{"metadata.mfs.back.1", "metadata.mfs.back.2", "metadata.mfs.back.tmp", "changelog.0.mfs", "changelog.1.mfs"}

			for _, other := range others {
				require.NoError(t, os.WriteFile(filepath.Join(dir, other), []byte(whole), 0o600))
			}

			for name, content := range tc.base {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}

			removed, err := MakeRoom(dir)
			require.NoError(t, err)
			require.Equal(t, tc.want, removed)

			left, err := os.ReadDir(dir)
			require.NoError(t, err)

			want := len(others) + len(tc.base)
			if tc.want != "" {
				want -= 2
			}

			require.Len(t, left, want)

			removed, err = MakeRoom(dir)
			require.NoError(t, err)
			require.Empty(t, removed)
		})
	}
}
