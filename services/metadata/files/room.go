package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// expendable is what mfsmaster leaves in its directory and does not need to start:
// dumps that were not finished, and copies of the dumps before the last two
// (BACK_META_KEEP_PREVIOUS).
var expendable = []string{"metadata.mfs.back.tmp", "metadata.mfs.tmp", "metadata.mfs.back.3", "metadata.mfs.back.2"}

// MakeRoom removes what of that is in dir, and returns its names; "" if there is nothing.
// It touches nothing unless the dump that mfsmaster would load is whole, and on the disk:
// mfsmaster itself doesn't wait for that. None may run there.
func MakeRoom(dir string) (string, error) {
	whole, err := keepDump(dir)
	if err != nil || !whole {
		return "", err
	}

	var removed []string

	for _, name := range expendable {
		err := os.Remove(filepath.Join(dir, name))
		if err == nil {
			removed = append(removed, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("make room: %w", err)
		}
	}

	return strings.Join(removed, ", "), nil
}

// keepDump reports whether the last dump is whole, and sees to it that it stays so.
func keepDump(dir string) (whole bool, err error) {
	for _, name := range []string{"metadata.mfs.back", "metadata.mfs"} {
		path := filepath.Join(dir, name)

		found, err := readMetadata(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}

		if err != nil || found.Version == 0 {
			return false, err
		}

		return true, errors.Join(syncPath(path), syncPath(dir))
	}

	return false, nil
}
