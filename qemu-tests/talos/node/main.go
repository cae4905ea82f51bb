// Command node makes what a Talos node boots in QEMU: the kernel and an initramfs
// with Talos's root filesystem, as Talos's own build makes them, but of other
// parts. Talos's init and machined are built from Talos's module, unchanged
// (scripts/build-talos); the kernel, containerd and the programs that machined
// calls are Debian's, where Talos has its own builds of the same projects.
//
// The kernel is not the one that Talos ships: it accepts modules that Talos didn't
// sign, as a kernel of one's own does.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"antler/image/debian"
	"antler/image/kernel"
)

func main() {
	var n node
	flag.StringVar(&n.out, "o", "build/talos", "directory that receives vmlinuz, initramfs.zst and modules")
	flag.StringVar(&n.cache, "cache", "build/cache", "directory for what can be used again by the next build")
	flag.StringVar(&n.programs, "programs", "", "directory that scripts/build-talos printed")
	flag.BoolVar(&n.allowExpired, "allow-expired", false, "take the lists of a mirror that stands still")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := n.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// tools are the programs of the build machine that the steps call.
var tools = []string{"mmdebstrap", "mksquashfs", "depmod", "xz", "zstd", "cpio", "cp", "bash", "go"}

// node is one run of the command: its flags.
type node struct {
	out, cache, programs string
	allowExpired         bool
}

func (n node) run(ctx context.Context) error {
	if n.programs == "" {
		return errors.New("-programs is missing: give the directory that scripts/build-talos prints")
	}
	if err := debian.CheckMachine(os.Geteuid(), tools); err != nil {
		return err
	}
	packages := tree(n.allowExpired)
	base, err := packages.Kept(ctx, filepath.Join(n.cache, "talos"), "node")
	if err != nil {
		return fmt.Errorf("%w\nwhere the mirror of %s stands still: make talos-node TALOS_FLAGS=-allow-expired", err, packages.Suite)
	}
	key, err := n.key(base)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(filepath.Join(n.out, keyFile)); err == nil && string(have) == key {
		return nil
	}
	if err := os.RemoveAll(n.out); err != nil {
		return err
	}
	stage := filepath.Join(n.out, "root")
	if err := os.MkdirAll(n.out, 0o755); err != nil {
		return err
	}
	if err := n.root(ctx, filepath.Join(base, "root"), stage); err != nil {
		return fmt.Errorf("make the root filesystem: %w", err)
	}
	release, err := kernel.Release(stage)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(stage, "usr/lib/modules", release, "vmlinuz"), filepath.Join(n.out, "vmlinuz")); err != nil {
		return err
	}
	if err := n.initramfs(ctx, stage, release); err != nil {
		return fmt.Errorf("make the initramfs: %w", err)
	}
	return n.finish(stage, release, key)
}

// finish keeps of the root what others take. The key is last: a build that was
// interrupted or has failed is made again.
func (n node) finish(stage, release, key string) error {
	// The extension takes DRBD from there.
	if err := os.Rename(filepath.Join(stage, "usr/lib/modules"), filepath.Join(n.out, "modules")); err != nil {
		return err
	}
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.out, "release"), []byte(release+"\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.out, keyFile), []byte(key), 0o644)
}

const keyFile = "key"

// key stands for all that the node is made of: packages, programs, and this program.
func (n node) key(packages string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	code, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	early, err := os.ReadFile("qemu-tests/talos/node/init/main.go")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s %x %x\n", filepath.Base(packages), filepath.Base(n.programs), sha256.Sum256(code), sha256.Sum256(early)), nil
}
