package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// clearBundle removes what containerd left behind of a container that it failed
// to create: "mkdir ...: file exists" is all that it says to every later attempt
// until it is started anew. The caller has made sure that containerd knows of no
// task there. It goes one level deep and no further, so that whatever should be
// mounted there is safe.
func clearBundle(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fmt.Errorf("look at what containerd left behind: %w", err)
	}

	for _, entry := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
	}

	err = errors.Join(err, os.Remove(dir))
	if err != nil {
		return fmt.Errorf("remove what containerd left behind: %w", err)
	}

	return nil
}
