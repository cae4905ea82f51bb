package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mfs is the uid and gid of the user MooseFS runs as, as in the image's
// passwd. It is on disk in every state partition: it never changes.
const mfs = 942

// node is a directory or a symbolic link to make.
type node struct {
	name  string
	mode  fs.FileMode
	owner int
	link  string // what a symbolic link points to
}

// state is what the system expects on /var, which is empty on the first boot.
// It stands here and not in tmpfiles.d because systemd-tmpfiles and
// systemd-sysctl together took 1.7 s to start on an emulated board.
func state() []node {
	return []node{
		{name: "cache", mode: 0o755},
		{name: "lib", mode: 0o755},
		{name: "lib/antler", mode: 0o755},
		{name: "lib/antler/etc", mode: 0o700},
		{name: "lib/containerd", mode: 0o711},
		{name: "lib/drbd", mode: 0o755},
		{name: "lib/rancher", mode: 0o755},
		{name: "lib/rancher/etc", mode: 0o700}, // /etc/rancher
		{name: "lib/mfs", mode: 0o750, owner: mfs},
		{name: "lib/systemd", mode: 0o755},
		{name: "log", mode: 0o755},
		{name: "tmp", mode: 0o777 | fs.ModeSticky},
		{name: "run", link: "../run"},
		{name: "lock", link: "../run/lock"},
	}
}

// run is the same for /run, which is empty on every boot.
func run() []node {
	return []node{
		{name: "antler", mode: 0o755},
		{name: "antler/log", mode: 0o750},
		{name: "drbd", mode: 0o755},
		{name: "lock", mode: 0o777 | fs.ModeSticky},
	}
}

// seed makes what is missing below dir and leaves alone what is there.
func seed(dir string, nodes func() []node) error {
	for _, n := range nodes() {
		path := filepath.Join(dir, n.name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := n.make(path); err != nil {
			return fmt.Errorf("seed %s: %w", dir, err)
		}
	}
	return nil
}

func (n node) make(path string) error {
	if n.link != "" {
		return os.Symlink(n.link, path)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if n.owner != 0 {
		if err := os.Chown(path, n.owner, n.owner); err != nil {
			return err
		}
	}
	return os.Chmod(path, n.mode) // after Mkdir, which the umask cuts
}

// setSysctls applies a sysctl.d file. A key this kernel does not have is
// reported and skipped: it is no reason not to start.
func setSysctls(file, proc string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		path := filepath.Join(proc, strings.ReplaceAll(strings.TrimSpace(key), ".", "/"))
		if err := os.WriteFile(path, []byte(strings.TrimSpace(value)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "antler init: sysctl:", err)
		}
	}
	return nil
}
