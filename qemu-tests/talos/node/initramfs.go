package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"antler/image/debian"
	"antler/image/kernel"
)

// early are the modules that Talos's own kernel has built in, and that its init
// and machined so take for granted. crc32c_cryptoapi comes before ext4, whose jbd2
// asks for "crc32c" by name: depmod's list of what needs what knows nothing of that.
var early = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "loop", "squashfs", "overlay", "configfs", "xfs",
	"crc32c_cryptoapi", "ext4",
	"vfat", "nls_cp437", "nls_ascii", "nls_utf8", "br_netfilter", "dm_mod", "fuse", "i6300esb", "nf_tables", "tcp_diag",
}

// initramfs makes what Talos's imager calls the initramfs: Talos's init and the
// root filesystem, with an init in front that loads modules.
func (n node) initramfs(ctx context.Context, root, release string) error {
	stage := filepath.Join(n.out, "initramfs")
	if err := os.MkdirAll(filepath.Join(stage, "modules"), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"dev", "proc", "sys", "root", "layers"} {
		if err := os.MkdirAll(filepath.Join(stage, dir), 0o755); err != nil {
			return err
		}
	}
	modules := filepath.Join(root, "usr/lib/modules", release)
	files, err := kernel.LoadOrder(modules, early)
	if err != nil {
		return err
	}
	for i, file := range files {
		// init loads them in the order of their names.
		if err := copyFile(filepath.Join(modules, file), filepath.Join(stage, fmt.Sprintf("modules/%02d-%s", i, filepath.Base(file))), 0o644); err != nil {
			return err
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(stage, "init"), "./qemu-tests/talos/node/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the init in front of Talos's: %w\n%s", err, out)
	}
	if err := copyFile(filepath.Join(n.programs, "init"), filepath.Join(stage, "talos-init"), 0o755); err != nil {
		return err
	}
	if err := debian.Run(ctx, "mksquashfs", root, filepath.Join(stage, "rootfs.sqsh"), "-all-root", "-noappend", "-no-progress", "-comp", "zstd",
		"-Xcompression-level", "6"); err != nil {
		return err
	}
	if err := archive(ctx, stage, filepath.Join(n.out, "initramfs.zst")); err != nil {
		return err
	}
	return os.RemoveAll(stage)
}

// archive packs what is in a directory. bash, since sh may have no pipefail, and an
// archive that cpio didn't finish is none.
func archive(ctx context.Context, dir, to string) error {
	return debian.Run(ctx, "bash", "-o", "pipefail", "-c",
		`cd "$0" && find . -printf '%P\n' | grep . | LC_ALL=C sort | cpio --quiet -o -H newc -R +0:+0 | zstd -q -f -1 -o "$1"`, dir, absolute(to))
}

func absolute(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return full
}
