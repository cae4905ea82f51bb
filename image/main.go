// Command image builds the Antler appliance: a disk image that boots an arm64
// machine into a read-only Debian with systemd, containerd, antlerd, MooseFS
// and drbd-utils, and nothing else.
//
// The image is made of four partitions (disk.go):
//
//	antler-boot   FAT32: the boot loader and what it chooses from (slots), kernel and
//	              initrd of each slot, and antler.yaml, the node's configuration,
//	              put there by whoever flashes the card (services/node/bootconfig)
//	antler-root-a squashfs: the system, never written (packages.go, base.go, rootfs.go),
//	              and the hashes that the kernel checks it against (verity)
//	antler-root-b blank in the image; the next system goes there
//	antler-state  mounted on /var: everything a node may not forget. Blank in the
//	              image; on the first boot it grows to the card and gets an ext4
//
// The work is a row of steps, each a file here. The slow ones (packages)
// are cached by what went into them; a change to antlerd alone costs
// only the last three: clone the base tree, squash it, write the disk.
//
// No maintainer script of any package runs: they would need an arm64 machine.
// What they would have done and we want is in rootfs/ as plain files, and in
// rootfs.go as links. What is not written there does not happen, which is
// also how the image stays small: no unit, generator or udev rule is active
// unless rootfs.go names it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"antler/image/debian"
	"antler/image/libraries"
)

func main() {
	var b build
	flag.StringVar(&b.out, "o", "build/image", "directory that receives antler.img, vmlinuz, initrd.img and packages.lock")
	flag.StringVar(&b.cache, "cache", "build/cache", "directory for what can be used again by the next build")
	flag.StringVar(&b.bin, "bin", "build/bin/arm64", "directory with the arm64 programs")
	flag.Int64Var(&b.stateMiB, "state-mib", 64, "size of the state partition in MiB; the first boot gives it the rest of the card")
	flag.StringVar(&b.compress, "compress", "lz4", "squashfs compression: lz4 (quicker to build and unpack) or zstd (a third smaller)")
	flag.StringVar(&b.version, "version", "dev", "version of the image")
	flag.BoolVar(&b.release, "release", false, "also pack antler-VERSION-arm64.img.xz")
	flag.BoolVar(&b.strict, "strict", false, "take exactly the packages of "+lockPath+", or fail; else newer ones will do where those can't be had")
	flag.StringVar(&b.k3s.from, "k3s", "", "k3s for arm64 to put into the image: a file or a URL; without it there is none in it")
	flag.StringVar(&b.k3s.version, "k3s-version", "", "version that -k3s is expected to be")
	flag.StringVar(&b.k3s.sha256, "k3s-sha256", "", "SHA-256 that -k3s must have")
	flag.StringVar(&b.k3s.ca, "k3s-ca", "", "PEM file with the certificates by which k3s trusts registries")
	flag.BoolVar(&b.update, "update-lock", false, "write "+lockPath+" from Debian's archive as it is today, and build nothing")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// build is one run of the command: its flags.
type build struct {
	out, cache, bin, version string
	stateMiB                 int64
	compress                 string
	strict, update, release  bool
	k3s                      k3s
}

func (b build) run(ctx context.Context) error {
	debs := debCache{dir: filepath.Join(b.cache, "debs"), sources: debian.Sources(suite, components)}
	if err := debian.CheckMachine(os.Geteuid(), tools); err != nil {
		return err
	}
	if b.update {
		return updateLock(ctx, debs)
	}
	if err := b.check(); err != nil {
		return err
	}
	k3s := ""
	if b.k3s.given() {
		// What is not as expected is told of also where the image is there already.
		path, err := b.k3s.take(ctx, b.cache)
		if err != nil {
			return err
		}
		k3s = path
	}
	if b.upToDate() {
		fmt.Println("image: nothing changed since the last build of", filepath.Join(b.out, "antler.img"))
		return nil
	}
	started := time.Now()
	step := func(what string) {
		fmt.Printf("image: %5.1fs %s\n", time.Since(started).Seconds(), what)
	}

	step("Debian packages")
	set, err := packageSet(ctx, debs, b.strict)
	if err != nil {
		return err
	}
	step("base tree")
	base, err := makeBase(ctx, b.cache, debs, set)
	if err != nil {
		return err
	}
	step("root tree")
	root, err := stageRoot(ctx, base, b.bin, filepath.Join(b.out, "root"))
	if err != nil {
		return err
	}
	if b.k3s.given() {
		step("k3s " + b.k3s.version)
		if err := b.k3s.install(k3s, root); err != nil {
			return err
		}
	} else {
		step("no k3s, since none was given (make image K3S=...): nodes run no pods, all else works")
	}
	step("check that every program finds its libraries")
	if err := (libraries.Tree{Root: root, Arch: "arm64"}).Check(); err != nil {
		return fmt.Errorf("%w\nadd their packages or prune the programs (packages.go)", err)
	}
	step("squash (" + b.compress + ")")
	squash, err := makeSquash(ctx, root, b.out, b.compress)
	if err != nil {
		return err
	}
	hash, err := addVerity(squash)
	if err != nil {
		return err
	}
	step("initrd and kernel")
	if err := makeBoot(ctx, base, b.out, hash, b.k3s.version); err != nil {
		return err
	}
	step("disk")
	if err := makeDisk(ctx, b.out, squash, b.stateMiB<<20); err != nil {
		return err
	}
	if b.release {
		step("pack")
		if err := b.packRelease(ctx); err != nil {
			return err
		}
	}
	if err := b.finish(set, root); err != nil {
		return err
	}
	step("done: " + filepath.Join(b.out, "antler.img"))
	return nil
}

// tools are the programs of the build machine that the steps call.
var tools = []string{"mmdebstrap", "dpkg-deb", "mksquashfs", "depmod", "bash", "xz", "zstd", "mkfs.vfat", "mcopy", "mmd", "cp", "go"}

func (b build) check() error {
	if b.compress != "lz4" && b.compress != "zstd" {
		return fmt.Errorf("unknown compression %q: use lz4 or zstd", b.compress)
	}
	for _, name := range programs {
		if _, err := os.Stat(filepath.Join(b.bin, name)); err != nil {
			return fmt.Errorf("%w: run \"make build\" first", err)
		}
	}
	return b.k3s.check()
}

// buildTime is the date of everything in the image, so that the same inputs make
// the same bytes: https://reproducible-builds.org/docs/source-date-epoch/
// Certificates are valid from that day on, for a board that has no clock.
func buildTime() time.Time { return time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC) }

// command runs a program of the build machine; what it printed is part of the
// error when it fails, and of no interest otherwise.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", buildTime().Unix()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
