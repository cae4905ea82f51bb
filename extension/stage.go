package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"antler/image/libraries"
	"antler/image/skeleton"
)

// stage puts together what becomes the image: the directory holds manifest.yaml
// and rootfs/ and nothing else.
type stage struct {
	// from is the tree of Debian's packages, to the directory that is made.
	from, to string
	arch     string
}

// service is the root of the service's container, below the stage.
func (s stage) service() string { return filepath.Join(s.to, "rootfs", serviceRoot) }

// Where Talos looks for a service called antler.
const (
	extension   = "antler"
	serviceRoot = "usr/local/lib/containers/" + extension
	serviceSpec = "usr/local/etc/containers/" + extension + ".yaml"
	// udev's rules are the node's.
	udevRules = "usr/lib/udev/rules.d/61-" + extension + "-drbd.rules"
)

// programs takes the programs with the libraries they need.
func (s stage) programs() error {
	found, err := s.match(programs)
	if err != nil {
		return err
	}
	needed, err := (libraries.Tree{Root: s.from, Arch: s.arch}).Needed(found)
	if err != nil {
		return err
	}
	return s.take(append(found, needed...))
}

// files takes what goes with them.
func (s stage) files() error {
	found, err := s.match(files)
	if err != nil {
		return err
	}
	return s.take(found)
}

// match returns the paths below Debian's root that the patterns stand for.
func (s stage) match(patterns []string) ([]string, error) {
	var out []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(s.from, pattern))
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", pattern, err)
		}
		if len(matches) == 0 {
			return nil, fmt.Errorf("no package has /%s: correct contents.go", pattern)
		}
		for _, match := range matches {
			path, err := filepath.Rel(s.from, match)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(dropped, path) {
				out = append(out, path)
			}
		}
	}
	return out, nil
}

// take copies files from Debian's root. A link comes as a link, with what it
// leads to.
func (s stage) take(paths []string) error {
	for len(paths) > 0 {
		path := paths[0]
		paths = paths[1:]
		info, err := os.Lstat(filepath.Join(s.from, path))
		if err != nil {
			return err
		}
		if info.IsDir() {
			continue
		}
		if info.Mode().Type() != fs.ModeSymlink {
			if err := s.copy(path, info); err != nil {
				return err
			}
			continue
		}
		next, err := s.takeLink(path)
		if err != nil {
			return err
		}
		paths = append(paths, next)
	}
	return nil
}

func (s stage) copy(path string, info fs.FileInfo) error {
	data, err := os.ReadFile(filepath.Join(s.from, path))
	if err != nil {
		return err
	}
	// Set-user-id has no place here, and Debian's odd modes neither.
	mode := fs.FileMode(0o644)
	if info.Mode().Perm()&0o100 != 0 {
		mode = 0o755
	}
	return put(filepath.Join(s.service(), path), data, mode)
}

// takeLink makes the same link and returns the path it leads to.
func (s stage) takeLink(path string) (string, error) {
	target, err := os.Readlink(filepath.Join(s.from, path))
	if err != nil {
		return "", err
	}
	if err := link(filepath.Join(s.service(), path), target); err != nil {
		return "", err
	}
	if filepath.IsAbs(target) {
		return filepath.Clean(target[1:]), nil
	}
	return filepath.Join(filepath.Dir(path), target), nil
}

// ours makes what no package has: mount points, links and the root in which
// MooseFS's processes run.
func (s stage) ours() error {
	inner := filepath.Join(s.service(), skeleton.Path)
	for _, list := range []struct {
		root  string
		dirs  []string
		links map[string]string
	}{
		{s.service(), dirs, links(s.arch)},
		{inner, skeleton.Dirs(), skeleton.Links(s.arch)},
	} {
		for _, dir := range list.dirs {
			if err := os.MkdirAll(filepath.Join(list.root, dir), 0o755); err != nil {
				return err
			}
		}
		for name, target := range list.links {
			if err := link(filepath.Join(list.root, name), target); err != nil {
				return err
			}
		}
	}
	return nil
}

func put(path string, data []byte, mode fs.FileMode) error {
	return errors.Join(
		os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, data, mode),
		// Whatever the umask is.
		os.Chmod(path, mode),
	)
}

func link(path, target string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	have, err := os.Readlink(path)
	if err == nil && have == target {
		return nil
	}
	return os.Symlink(target, path)
}

// walk calls each for everything below the stage, sorted by path, so that the
// same tree always gives the same image.
func walk(root string, each func(path string, info fs.FileInfo) error) error {
	var paths []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != root {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(paths)
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := each(rel, info); err != nil {
			return err
		}
	}
	return nil
}
