package debian

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// Kept returns a directory below cache with root/, the packages as they are, and
// packages.txt, the list of them. It is made anew only when what it is made of
// changes; packages are those of the day it was made.
func (t Tree) Kept(ctx context.Context, cache, name string) (string, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%q", struct {
		Suite, Arch       string
		Packages, Sources []string
	}{t.Suite, t.Arch, t.Packages, t.Sources}))
	dir := filepath.Join(cache, fmt.Sprintf("%s-%s-%x", name, t.Arch, key[:8]))
	return dir, Kept(dir, func(dir string) error {
		return t.Fetch(ctx, filepath.Join(dir, "root"), filepath.Join(dir, "packages.txt"))
	})
}

// Kept has fill make the directory, unless it is there. Its name must say what it is
// made of. fill gets an empty one that is renamed when it has returned: a build that
// fails or is interrupted leaves only that, a ".new", which the next one removes.
func Kept(dir string, fill func(dir string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}
