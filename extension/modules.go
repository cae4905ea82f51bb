package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"antler/extension/validate"
)

// drbd takes DRBD and the modules it needs from a kernel's directory of modules.
// Which those are the modules say themselves.
func (s stage) drbd(dir string) error {
	files, err := moduleFiles(dir)
	if err != nil {
		return err
	}
	builtin, err := builtinModules(dir)
	if err != nil {
		return err
	}
	for todo, done := []string{"drbd"}, []string{}; len(todo) > 0; {
		module := todo[0]
		todo = todo[1:]
		if slices.Contains(done, module) || slices.Contains(builtin, module) {
			continue
		}
		done = append(done, module)
		data, err := readModule(files, module, dir)
		if err != nil {
			return err
		}
		info, err := validate.ModuleInfo(data)
		if err != nil {
			return fmt.Errorf("%s: %w", files[module], err)
		}
		for _, list := range info["depends"] {
			todo = append(todo, strings.FieldsFunc(list, func(r rune) bool { return r == ',' })...)
		}
		to := filepath.Join(s.to, "rootfs/usr/lib/modules", filepath.Base(dir), "extras", module+".ko")
		if err := put(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readModule(files map[string]string, module, dir string) ([]byte, error) {
	path, found := files[module]
	if !found {
		return nil, fmt.Errorf("%s has no module %s: build the kernel with CONFIG_BLK_DEV_DRBD=m", dir, module)
	}
	if filepath.Ext(path) != ".ko" {
		return nil, fmt.Errorf("%s is compressed, and Talos loads only what is not: unpack it first", path)
	}
	return os.ReadFile(path)
}

// moduleFiles are the files below dir by the modules' names.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(d.Name(), ".ko") {
			return err
		}
		files[moduleName(path)] = path
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for the kernel's modules: %w", err)
	}
	return files, nil
}

// moduleName is how the kernel calls a module file: a/b/virtio-rng.ko is virtio_rng.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// builtinModules are those that the kernel has without a file.
func builtinModules(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read what is built into the kernel: %w: give the whole directory lib/modules/RELEASE", err)
	}
	var out []string
	for _, path := range strings.Fields(string(data)) {
		out = append(out, moduleName(path))
	}
	return out, nil
}
