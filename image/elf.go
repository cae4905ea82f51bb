package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraryDirs is where arm64 Debian's loader looks without a cache, which a
// maintainer script would have made.
var libraryDirs = []string{"usr/lib/aarch64-linux-gnu", "usr/lib"}

// checkELF fails when a program or library in the tree needs a library that
// is not: it would be found out only on the day the program is called.
func checkELF(root string) error {
	var missing []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".ko") {
			return err
		}
		needs, runpath, err := elfNeeds(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, lib := range needs {
			if !hasLibrary(root, filepath.Dir(path), runpath, lib) {
				missing = append(missing, strings.TrimPrefix(path, root)+" needs "+lib)
			}
		}
		return nil
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	slices.Sort(missing)
	return fmt.Errorf("libraries missing from the image; add their packages or prune the programs (packages.go):\n%s",
		strings.Join(missing, "\n"))
}

// elfNeeds returns nothing for a file that is not ELF.
func elfNeeds(path string) (needs, runpath []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	var notELF *elf.FormatError
	if errors.As(err, &notELF) || err != nil && strings.Contains(err.Error(), "EOF") {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if e.Machine != elf.EM_AARCH64 {
		return nil, nil, fmt.Errorf("is for %s, not arm64", e.Machine)
	}
	if e.Section(".dynamic") == nil {
		return nil, nil, nil
	}
	needs, err = e.ImportedLibraries()
	if err != nil {
		return nil, nil, err
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := e.DynString(tag)
		if err != nil {
			return nil, nil, err
		}
		for _, p := range paths {
			runpath = append(runpath, strings.Split(p, ":")...)
		}
	}
	return needs, runpath, nil
}

func hasLibrary(root, origin string, runpath []string, lib string) bool {
	dirs := make([]string, 0, len(runpath)+len(libraryDirs))
	for _, p := range runpath {
		if rest, ok := strings.CutPrefix(p, "$ORIGIN"); ok {
			dirs = append(dirs, origin+rest)
			continue
		}
		dirs = append(dirs, filepath.Join(root, p))
	}
	for _, d := range libraryDirs {
		dirs = append(dirs, filepath.Join(root, d))
	}
	// A private library may lean on its neighbour, which the program they
	// belong to has loaded before it (systemd's two).
	dirs = append(dirs, origin)
	return slices.ContainsFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, lib))
		return err == nil
	})
}
