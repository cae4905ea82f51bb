// Package kernel is about the one kernel in the root filesystem of a machine that is
// being built: which it is, its modules made ready to load, and the order in which
// they are. It runs on the machine that builds, for any architecture.
package kernel

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"antler/image/debian"
)

// Release is the release of the one kernel in the tree.
func Release(root string) (string, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if err != nil {
		return "", err
	}
	if len(dirs) != 1 {
		return "", fmt.Errorf("want one kernel in %s, found %d: %v", root, len(dirs), dirs)
	}
	return filepath.Base(dirs[0]), nil
}

// Ready unpacks the kernel's modules and indexes them. squashfs packs them again, so
// that a node need not unpack xz to load one, which some can't.
func Ready(ctx context.Context, root string) error {
	release, err := Release(root)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "usr/lib/modules", release)
	// A pipe, since there are thousands of files, two at a time; bash, since sh may
	// have no pipefail.
	if err := debian.Run(ctx, "bash", "-o", "pipefail", "-c", `find "$0" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P 2 xz -d`, dir); err != nil {
		return fmt.Errorf("unpack modules: %w", err)
	}
	return debian.Run(ctx, "depmod", "-b", filepath.Join(root, "usr"), release)
}

// LoadOrder lists the files to load for the wanted modules, each once and after those
// it needs, as paths below the modules' directory (usr/lib/modules/RELEASE), which has
// been made Ready. One that is built into the kernel needs no file.
func LoadOrder(modules string, wanted []string) ([]string, error) {
	mods, err := readDep(filepath.Join(modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := readBuiltin(filepath.Join(modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	return order(mods, builtin, wanted)
}

// readDep reads a modules.dep file.
func readDep(path string) (map[string]moduleFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mods := map[string]moduleFile{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, deps, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			continue
		}
		mods[ModuleName(file)] = moduleFile{file: file, deps: strings.Fields(deps)}
	}
	return mods, lines.Err()
}

// moduleFile is a line of modules.dep: a file and the files it needs.
type moduleFile struct {
	file string
	deps []string
}

// ModuleName is how the kernel calls a module file: a/b/virtio-rng.ko is virtio_rng.
func ModuleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// order lists the files to load for the wanted modules, each once and after those it
// needs. A module built into the kernel is in builtin and needs no file.
func order(mods map[string]moduleFile, builtin map[string]bool, wanted []string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] || builtin[name] {
			return nil
		}
		m, ok := mods[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %s", name)
		}
		seen[name] = true
		for _, dep := range m.deps {
			if err := add(ModuleName(dep)); err != nil {
				return fmt.Errorf("needed by %s: %w", name, err)
			}
		}
		files = append(files, m.file)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readBuiltin reads a modules.builtin file.
func readBuiltin(path string) (map[string]bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	builtin := map[string]bool{}
	for _, file := range strings.Fields(string(data)) {
		builtin[ModuleName(file)] = true
	}
	return builtin, nil
}
