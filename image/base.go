package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"antler/image/debian"
	"antler/image/kernel"
)

// makeBase returns the directory of the base tree: the packages without what
// packages.go prunes, with kernel modules ready to load. It is made anew only
// when its key changes.
func makeBase(ctx context.Context, cache string, debs debCache, set lock) (string, error) {
	key := hashStrings(set.String(), pruned, keptUdevRules, keptWants)
	base := filepath.Join(cache, "base-"+key)
	return base, debian.Kept(base, func(dir string) error {
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		if err := debs.unpack(ctx, set, root); err != nil {
			return err
		}
		if err := prune(root); err != nil {
			return err
		}
		if err := kernel.Ready(ctx, root); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "packages.lock"), []byte(set.String()), 0o644)
	})
}

func prune(root string) error {
	for _, pattern := range pruned {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("prune %s: %w", pattern, err)
		}
		for _, m := range matches {
			if err := os.RemoveAll(m); err != nil {
				return err
			}
		}
	}
	return errors.Join(
		pruneDoc(root),
		keepOnly(filepath.Join(root, "usr/lib/udev/rules.d/*"), keptUdevRules),
		keepOnly(filepath.Join(root, "usr/lib/systemd/system/*.wants/*"), keptWants),
	)
}

func keepOnly(pattern string, keep []string) error {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if slices.Contains(keep, filepath.Base(m)) {
			continue
		}
		if err := os.RemoveAll(m); err != nil {
			return err
		}
	}
	return nil
}

// pruneDoc removes documentation but every package's copyright file: the
// licences travel with the programs.
func pruneDoc(root string) error {
	doc := filepath.Join(root, "usr/share/doc")
	return filepath.WalkDir(doc, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "copyright" {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 && filepath.Dir(path) == doc {
			return nil // one package's directory standing for another's
		}
		return os.Remove(path)
	})
}

func abs(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return full
}
