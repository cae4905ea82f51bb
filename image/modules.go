package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bootModules are what the initrd loads, in this order, each after what it
// depends on. crc32c_generic comes before ext4, which asks the crypto layer
// for "crc32c" by name: depmod knows nothing of that, and without it ext4
// fails with "Cannot load crc32c driver". The same goes for dm_verity's sha256, of which
// a machine has the quicker one or not, and for vfat's character
// sets.
var bootModules = []string{"virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "squashfs",
	"sha256_arm64", "sha2_ce", "dm_verity", "vfat", "nls_cp437", "nls_ascii"}

// piModules drive the card and USB disks of a Raspberry Pi; loaded there before
// the others.
var piModules = []string{"reset_raspberrypi", "gpio_regulator", "sdhci_iproc", "bcm2835", "xhci_pci", "usb_storage", "uas", "sd_mod"}

// readyModules unpacks the kernel's modules and indexes them. squashfs
// packs them again, so the node need not unpack xz to load one.
func readyModules(ctx context.Context, root string) error {
	release, err := kernelRelease(root)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "usr/lib/modules", release)
	// sh for the pipe: thousands of files, two at a time.
	if err := command(ctx, "sh", "-c", `find "$0" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P 2 xz -d`, dir); err != nil {
		return fmt.Errorf("unpack modules: %w", err)
	}
	return command(ctx, "depmod", "-b", filepath.Join(root, "usr"), release)
}

// kernelRelease is the one kernel in the tree.
func kernelRelease(root string) (string, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if err != nil {
		return "", err
	}
	if len(dirs) != 1 {
		return "", fmt.Errorf("want one kernel in %s, found %d: %v", root, len(dirs), dirs)
	}
	return filepath.Base(dirs[0]), nil
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
		mods[moduleName(file)] = moduleFile{file: file, deps: strings.Fields(deps)}
	}
	return mods, lines.Err()
}

// moduleFile is a line of modules.dep: a file and the files it needs.
type moduleFile struct {
	file string
	deps []string
}

// moduleName is how the kernel calls a module file: a/b/virtio-rng.ko is virtio_rng.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loadOrder lists the files to load for the wanted modules, each once and
// after those it needs. A module built into the kernel is in builtin and needs
// no file.
func loadOrder(mods map[string]moduleFile, builtin map[string]bool, wanted []string) ([]string, error) {
	var order []string
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
			if err := add(moduleName(dep)); err != nil {
				return fmt.Errorf("needed by %s: %w", name, err)
			}
		}
		order = append(order, m.file)
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// readBuiltin reads a modules.builtin file.
func readBuiltin(path string) (map[string]bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	builtin := map[string]bool{}
	for _, file := range strings.Fields(string(data)) {
		builtin[moduleName(file)] = true
	}
	return builtin, nil
}
