package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"antler/image/debian"
	"antler/image/kernel"
)

// pruned are paths and patterns below Debian's root that no node needs: what is
// left is in memory as long as the machine runs.
var pruned = []string{
	"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bash-completion",
	"usr/share/perl5", "usr/share/i18n", "usr/share/zoneinfo", "usr/share/bug", "usr/share/common-licenses", "usr/share/zsh",
	"usr/lib/aarch64-linux-gnu/perl*", "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/linux-image-*", "usr/lib/udev/hwdb.d",
	"usr/bin/containerd-stress", "usr/bin/perl*", "usr/bin/python*", "usr/bin/ctr", "usr/lib/containerd", "usr/lib/cni", "usr/lib/dracut",
	"usr/lib/python*", "usr/lib/aarch64-linux-gnu/libicu*", "usr/lib/aarch64-linux-gnu/systemd/libsystemd-core*", "usr/lib/systemd/systemd*", "usr/sbin/*agent",
	"usr/sbin/pidfd-kill", "usr/sbin/recvtty", "usr/sbin/remap-rootfs", "usr/sbin/sd-helper", "usr/lib/modules/*/dtb", "usr/lib/modules/*/config",
	"var", "run", "tmp", "etc/default", "etc/init.d", "etc/cron*", "etc/systemd", "usr/lib/systemd/system", "usr/lib/systemd/system-generators",
	"usr/lib/modules/*/kernel/sound", "usr/lib/modules/*/kernel/drivers/[aghims]*", "usr/lib/modules/*/kernel/drivers/net/[acdeiopuw]*",
	"usr/lib/modules/*/kernel/drivers/video", "usr/lib/modules/*/kernel/drivers/usb", "usr/lib/modules/*/kernel/fs/[bcgjnor]*",
	"usr/lib/modules/*/kernel/net/[abmw]*",
}

// kept are among them: what is in a machine of QEMU, and what the node loads.
var kept = []string{
	"usr/lib/modules/*/kernel/drivers/md", "usr/lib/modules/*/kernel/net/bridge", "usr/lib/modules/*/kernel/fs/configfs",
	"usr/lib/modules/*/kernel/fs/jbd2", "usr/lib/modules/*/kernel/fs/nls", "usr/lib/modules/*/kernel/fs/overlayfs",
}

// dirs that machined mounts on or writes to: Talos's Dockerfile makes the same.
var dirs = []string{
	"boot/EFI", "dev", "proc", "run", "sys", "system", "tmp", "var", "mnt", "opt/containerd/bin", "opt/containerd/lib", "opt/cni/bin", ".extra", "root",
	"etc/cni/net.d", "etc/cri/conf.d/hosts", "etc/iscsi", "etc/kubernetes/manifests", "etc/nvme", "etc/pki", "etc/selinux/targeted/contexts/files",
	"etc/ssl/certs", "etc/lvm", "usr/etc", "usr/lib/firmware", "usr/lib/udev/rules.d", "usr/libexec/kubernetes", "usr/share/zoneinfo/Etc",
	"usr/local/etc/containers", "usr/local/lib/containers", "usr/local/lib/kubelet/credentialproviders", "usr/local/share", "usr/share/spdx",
}

// empty files that machined binds its own onto: Talos's Dockerfile makes the same.
var empty = []string{
	"etc/extensions.yaml", "etc/hostname", "etc/hosts", "etc/machine-id", "etc/resolv.conf",
	"etc/cri/conf.d/cri.toml", "etc/cri/conf.d/01-registries.part", "etc/cri/conf.d/20-customization.part", "etc/cri/conf.d/base-spec.json",
	"etc/ssl/certs/ca-certificates.crt", "etc/selinux/targeted/contexts/files/file_contexts", "etc/iscsi/initiatorname.iscsi",
	"etc/nvme/hostid", "etc/nvme/hostnqn",
}

// talosFiles come from Talos's module, by the names that scripts/build-talos gives them.
var talosFiles = map[string]string{
	"containerd.toml": "etc/containerd/config.toml", "cri-containerd.toml": "etc/cri/containerd.toml", "cri-plugin.part": "etc/cri/conf.d/00-base.part",
	"99-default.link": "usr/lib/systemd/network/99-default.link", "lvm.conf": "etc/lvm/lvm.conf", "UTC": "usr/share/zoneinfo/Etc/UTC",
	"os-release": "usr/lib/os-release",
}

// links are where machined looks for programs that Debian keeps elsewhere.
var links = map[string]string{
	"usr/bin/systemd-udevd": "udevadm", "usr/bin/poweroff": "init", "usr/bin/shutdown": "init", "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
}

// root makes Talos's root filesystem of Debian's packages and Talos's programs.
func (n node) root(ctx context.Context, from, to string) error {
	if err := debian.Run(ctx, "cp", "-a", "--reflink=auto", from, to); err != nil {
		return err
	}
	if err := prune(to); err != nil {
		return err
	}
	if err := mergeSbin(to); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	for _, file := range empty {
		path := filepath.Join(to, file)
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o644)); err != nil {
			return err
		}
	}
	for from, file := range talosFiles {
		if err := copyFile(filepath.Join(n.programs, from), filepath.Join(to, file), 0o644); err != nil {
			return err
		}
	}
	for name, target := range links {
		path := filepath.Join(to, name)
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(n.programs, "machined"), filepath.Join(to, "usr/bin/init"), 0o755); err != nil {
		return err
	}
	// Talos loads only modules that are not compressed.
	return kernel.Ready(ctx, to)
}

// mergeSbin makes one directory of the two that Debian has: Talos has one, and
// machined looks for programs in no other.
func mergeSbin(root string) error {
	sbin := filepath.Join(root, "usr/sbin")
	programs, err := os.ReadDir(sbin)
	if err != nil {
		return err
	}
	for _, program := range programs {
		to := filepath.Join(root, "usr/bin", program.Name())
		if _, err := os.Lstat(to); err == nil && program.Type() == os.ModeSymlink {
			continue // the program is in usr/bin; else what is there is a link to it
		}
		if err := os.Rename(filepath.Join(sbin, program.Name()), to); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(sbin), os.Symlink("bin", sbin))
}

func prune(root string) error {
	keep := filepath.Join(root, "kept")
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	moved := map[string]string{}
	for i, pattern := range kept {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for j, match := range matches {
			aside := filepath.Join(keep, fmt.Sprintf("%d-%d", i, j))
			if err := os.Rename(match, aside); err != nil {
				return err
			}
			moved[aside] = match
		}
	}
	for _, pattern := range pruned {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("prune %s: %w", pattern, err)
		}
		for _, match := range matches {
			if err := os.RemoveAll(match); err != nil {
				return err
			}
		}
	}
	for aside, path := range moved {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Rename(aside, path)); err != nil {
			return err
		}
	}
	return os.RemoveAll(keep)
}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.RemoveAll(to), os.WriteFile(to, data, mode), os.Chmod(to, mode))
}
