package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// expendable is what mfsmaster leaves in its directory and never needs to start, in the
// order in which it is done without: dumps that were not finished, and copies of the
// dumps before the last one (BACK_META_KEEP_PREVIOUS). metadata.mfs and
// metadata.mfs.back, which the changelogs go on from, are not among them, nor are those.
var expendable = []string{"metadata.mfs.back.tmp", "metadata.mfs.tmp", "metadata.mfs.back.3", "metadata.mfs.back.2", "metadata.mfs.back.1"}

// MakeRoom removes the first of them that is in dir, and returns its name; "" if there is
// none. No mfsmaster may run there.
func MakeRoom(dir string) (string, error) {
	for _, name := range expendable {
		err := os.Remove(filepath.Join(dir, name))
		if err == nil {
			return name, nil
		}

		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("make room: %w", err)
		}
	}

	return "", nil
}
