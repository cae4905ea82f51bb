package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"antler/image/skeleton"
)

// overlay is what we put over Debian's files, as it stands in the root.
//
//go:embed all:rootfs
var overlay embed.FS

// links are symbolic links of the root, name to target: enabled units, masked
// units (/dev/null), and what Debian's maintainer scripts would have linked.
var links = map[string]string{
	"etc/systemd/system/default.target":                                    "/usr/lib/systemd/system/multi-user.target",
	"etc/systemd/system/multi-user.target.wants/antler-prepare.service":    "../antler-prepare.service",
	"etc/systemd/system/multi-user.target.wants/antler-console.service":    "../antler-console.service",
	"etc/systemd/system/multi-user.target.wants/antlerd.service":           "../antlerd.service",
	"etc/systemd/system/multi-user.target.wants/antler-trial.service":      "../antler-trial.service",
	"etc/systemd/system/multi-user.target.wants/antler-going-down.service": "../antler-going-down.service",
	"etc/systemd/system/multi-user.target.wants/containerd.service":        "../containerd.service",
	"etc/systemd/system/multi-user.target.wants/systemd-networkd.service":  "/usr/lib/systemd/system/systemd-networkd.service",
	"etc/systemd/system/multi-user.target.wants/antler-time.service":       "../antler-time.service",
	"etc/systemd/system/multi-user.target.wants/k3s.service":               "../k3s.service",
	"etc/systemd/system/sockets.target.wants/systemd-networkd.socket":      "/usr/lib/systemd/system/systemd-networkd.socket",

	// Pulled in by units we keep, of no use here.
	"etc/systemd/system/systemd-networkd-wait-online.service":        "/dev/null",
	"etc/systemd/system/systemd-networkd-persistent-storage.service": "/dev/null",
	"etc/systemd/system/systemd-journal-flush.service":               "/dev/null",
	"etc/systemd/system/systemd-update-utmp.service":                 "/dev/null",
	"etc/systemd/system/getty@.service":                              "/dev/null",
	"etc/systemd/system/serial-getty@.service":                       "/dev/null",
	"etc/systemd/system/systemd-fsck@.service":                       "/dev/null",
	"etc/systemd/system/systemd-firstboot.service":                   "/dev/null",
	"etc/systemd/system/systemd-udev-load-credentials.service":       "/dev/null",
	// udev asks for these when a module shows up.
	"etc/systemd/system/sys-fs-fuse-connections.mount": "/dev/null",
	"etc/systemd/system/sys-kernel-config.mount":       "/dev/null",
	"etc/systemd/system/ctrl-alt-del.target":           "/usr/lib/systemd/system/reboot.target",

	"etc/antler":            "/var/lib/antler/etc",
	"etc/rancher":           "/var/lib/rancher/etc",
	"etc/mtab":              "../proc/self/mounts",
	"etc/resolv.conf":       "../run/antler/resolv.conf",
	"usr/sbin/drbdadm-84":   "../lib/drbd/drbdadm-84",
	"usr/sbin/drbdsetup-84": "../lib/drbd/drbdsetup-84",
}

// busyboxApplets are for a person on the debug shell; nothing of ours calls them.
var busyboxApplets = []string{"awk", "clear", "find", "free", "grep", "hexdump", "hostname", "less", "ping", "ps",
	"sed", "tar", "telnet", "top", "vi", "which", "xargs"}

// dirs are mount points.
var dirs = []string{"dev", "proc", "sys", "run", "tmp", "var", "root", "mnt", "etc/systemd/network"}

// stageRoot makes the tree that becomes the squashfs. Files of the base are
// hard links into the cache: every write here replaces a file, never changes it.
func stageRoot(ctx context.Context, base, bin, root string) (string, error) {
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", err
	}
	from := filepath.Join(base, "root")
	if err := command(ctx, "cp", "-al", from, root); err != nil {
		// The cache may be on another file system.
		if err := errors.Join(os.RemoveAll(root), command(ctx, "cp", "-a", from, root)); err != nil {
			return "", err
		}
	}
	// Kernel and boot loaders are on the boot partition; the state's mount point stays empty.
	for _, dir := range []string{"boot", "var", firmwareDir, filepath.Dir(filepath.Dir(piLoader))} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return "", err
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	return root, errors.Join(
		makeSkeleton(filepath.Join(root, skeleton.Path)),
		copyOverlay(root),
		makeLinks(root),
		installPrograms(bin, root),
		os.Chmod(filepath.Join(root, "root"), 0o700),
		refuseUnwanted(root),
	)
}

// programs are ours in the image, built for it.
var programs = []string{"antlerctl", "antlerd", "antler-fence"}

func installPrograms(bin, root string) error {
	for _, name := range programs {
		if err := install(filepath.Join(bin, name), filepath.Join(root, "usr/bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// makeSkeleton makes the root in which MooseFS processes run.
func makeSkeleton(root string) error {
	for _, dir := range skeleton.Dirs() {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, target := range skeleton.Links("arm64") {
		if err := link(filepath.Join(root, name), target); err != nil {
			return err
		}
	}
	return nil
}

func copyOverlay(root string) error {
	return fs.WalkDir(overlay, "rootfs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlay.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "rootfs/")
		return put(filepath.Join(root, name), data, modeOf(name))
	})
}

// modeOf stands in for what an embedded file cannot carry.
func modeOf(name string) fs.FileMode {
	if name == "etc/shadow" {
		return 0o600
	}
	return 0o644
}

func makeLinks(root string) error {
	for name, target := range links {
		if err := link(filepath.Join(root, name), target); err != nil {
			return err
		}
	}
	for _, applet := range busyboxApplets {
		path := filepath.Join(root, "usr/bin", applet)
		if _, err := os.Lstat(path); err == nil {
			continue // a real one is there
		}
		if err := link(path, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

func link(path, target string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

func install(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("install %s: %w", to, err)
	}
	return put(to, data, 0o755)
}

// put replaces a file; see stageRoot for why it must not write into one.
func put(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// makeSquash packs the root. Owner and mode are the tree's; it must be root's.
// Dates are the packages', and buildTime where they would be later: mksquashfs
// takes that from SOURCE_DATE_EPOCH.
func makeSquash(ctx context.Context, root, out, compress string) (string, error) {
	squash := filepath.Join(out, "root.squashfs")
	args := []string{root, squash, "-noappend", "-quiet", "-no-progress", "-no-xattrs", "-comp", compress}
	if compress == "zstd" {
		args = append(args, "-Xcompression-level", "6")
	}
	return squash, command(ctx, "mksquashfs", args...)
}
