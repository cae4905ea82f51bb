package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"antler/image/kernel"
	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

// makeBoot writes vmlinuz, initrd.img and cmdline. The initrd holds a static init
// (image/init) and the modules it loads: its only work is to find our
// partitions and to hand over to systemd.
func makeBoot(ctx context.Context, base, out string, hash verity.Root, k3s string) error {
	root := filepath.Join(base, "root")
	release, err := kernel.Release(root)
	if err != nil {
		return err
	}
	vmlinuz, err := os.ReadFile(filepath.Join(root, "boot", "vmlinuz-"+release))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "vmlinuz"), vmlinuz, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "cmdline"), []byte(byHand(hash, k3s)+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(out, "boot")); err != nil {
		return err
	}
	if err := makePiBoot(base, filepath.Join(out, "boot")); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		slots.ScriptFile: slots.Script(),
		slots.StateFile:  slots.State{Slot: layout.SlotA}.Bytes(),
	} {
		if err := put(filepath.Join(out, "boot", name), data, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(out, slots.EntryFile), slots.Entry(arguments(hash, k3s)), 0o644); err != nil {
		return err
	}
	init, err := buildInit(ctx, filepath.Join(out, "init"))
	if err != nil {
		return err
	}
	modules := filepath.Join(root, "usr/lib/modules", release)
	var archive bytes.Buffer
	if err := writeInitramfs(&archive, init, modules); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	raw := filepath.Join(out, "initrd.cpio")
	if err := os.WriteFile(raw, archive.Bytes(), 0o644); err != nil {
		return err
	}
	return command(ctx, "zstd", "-q", "-f", "-19", "--rm", raw, "-o", filepath.Join(out, "initrd.img"))
}

func buildInit(ctx context.Context, to string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, "./image/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build image/init: %w\n%s", err, out)
	}
	return os.ReadFile(to)
}

func writeInitramfs(w io.Writer, init []byte, modules string) error {
	c := &cpio{w: w}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "modules", "modules-pi"} {
		c.entry(dir, modeDir|0o755, 0, nil)
	}
	// The kernel opens /dev/console for init before init can mount anything.
	c.entry("dev/console", modeChar|0o600, 5<<8|1, nil)
	c.entry("init", modeFile|0o755, 0, init)
	// Those of the Raspberry Pi are apart: elsewhere they only cost time.
	for _, set := range []struct {
		dir    string
		wanted []string
	}{{"modules-pi", piModules}, {"modules", bootModules}} {
		order, err := kernel.LoadOrder(modules, set.wanted)
		if err != nil {
			return err
		}
		for i, file := range order {
			data, err := os.ReadFile(filepath.Join(modules, file))
			if err != nil {
				return err
			}
			// init loads them in the order of their names.
			c.entry(fmt.Sprintf("%s/%02d-%s.ko", set.dir, i, kernel.ModuleName(file)), modeFile|0o644, 0, data)
		}
	}
	return c.close()
}
