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
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", err
	}
	if err := t.Fetch(ctx, filepath.Join(tmp, "root"), filepath.Join(tmp, "packages.txt")); err != nil {
		return "", err
	}
	// The rename is the commit: an interrupted build leaves only a ".new".
	return dir, os.Rename(tmp, dir)
}
