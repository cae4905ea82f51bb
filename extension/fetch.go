package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// fetch returns a directory with root/, Debian's packages as they are, and
// packages.txt, the list of them. It is made anew only when what it is made of
// changes; packages are those of the day it was made.
func fetch(ctx context.Context, cache, arch string) (string, error) {
	wanted := tree(arch)
	key := sha256.Sum256(fmt.Appendf(nil, "%q", wanted))
	dir := filepath.Join(cache, fmt.Sprintf("extension-%s-%x", arch, key[:8]))
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
	if err := wanted.Fetch(ctx, filepath.Join(tmp, "root"), filepath.Join(tmp, "packages.txt")); err != nil {
		return "", err
	}
	// The rename is the commit: an interrupted build leaves only a ".new".
	return dir, os.Rename(tmp, dir)
}
