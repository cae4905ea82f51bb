package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// packRelease packs the disk image for download, with the sum that `sha256sum -c`
// checks. One thread: with several, the bytes depend on the machine.
func (b build) packRelease(ctx context.Context) error {
	name := "antler-" + b.version + "-arm64.img.xz"
	packed, err := os.Create(filepath.Join(b.out, name+".new"))
	if err != nil {
		return err
	}
	defer func() { _ = packed.Close() }()
	xz := exec.CommandContext(ctx, "xz", "--threads=1", "-6", "--stdout", filepath.Join(b.out, "antler.img"))
	xz.Stdout, xz.Stderr = packed, os.Stderr
	if err := xz.Run(); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if err := packed.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	sum, err := fileSHA256(packed.Name())
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%s  %s\n", sum, name)
	if err := os.WriteFile(filepath.Join(b.out, name+".sha256"), []byte(line), 0o644); err != nil {
		return err
	}
	if err := os.Rename(packed.Name(), filepath.Join(b.out, name)); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(b.out, name))
	if err != nil {
		return err
	}
	fmt.Printf("image: %s: %.1f MiB, SHA-256 %s\n", filepath.Join(b.out, name), mibs(info.Size()), sum)
	return nil
}
