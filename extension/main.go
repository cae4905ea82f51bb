// Command extension builds Antler's Talos system extension: for each
// architecture an OCI image that holds manifest.yaml and rootfs/, and in it
//
//	usr/local/etc/containers/antler.yaml   what Talos runs (service/antler.yaml)
//	usr/local/lib/containers/antler/       the root it runs in: antlerd, MooseFS,
//	                                       and the libraries they need
//	usr/lib/udev/rules.d/                  what keeps udev from DRBD's devices
//	usr/lib/modules/KERNEL/extras/         DRBD, only with -modules
//
// Programs are Debian's, unchanged (contents.go, image/debian); their libraries
// are found by reading them (image/libraries). What is shipped is checked before
// it is written anywhere: by our rules (extension/validate) and by Talos's own.
//
// The same inputs give the same digest: files are sorted, have no times and
// belong to root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	var b build
	archs := flag.String("arch", "arm64,amd64", "architectures to build for")
	flag.StringVar(&b.out, "o", "build/extension", "directory that receives the image")
	flag.StringVar(&b.cache, "cache", "build/cache", "directory for what can be used again by the next build")
	flag.StringVar(&b.bin, "bin", "build/bin", "directory with ARCH/antlerd")
	flag.StringVar(&b.version, "version", "dev", "version of the extension")
	flag.StringVar(&b.modules, "modules", "", "also carry DRBD from this directory of a kernel's modules (.../lib/modules/RELEASE); one architecture only")
	flag.Parse()
	b.archs = strings.Split(*archs, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "extension:", err)
		os.Exit(1)
	}
}

// build is one run of the command: its flags.
type build struct {
	out, cache, bin string
	version         string
	archs           []string
	modules         string
}

// kernel is the release of the kernel that the modules are for, or "".
func (b build) kernel() string {
	if b.modules == "" {
		return ""
	}
	return filepath.Base(b.modules)
}

// tag of the image. Modules make an image of their own, for one kernel.
func (b build) tag() string {
	tag := strings.ReplaceAll(b.version, "+", "_")
	if b.modules != "" {
		tag += "-drbd-" + strings.ReplaceAll(b.kernel(), "+", "_")
	}
	return tag
}

func (b build) check() error {
	if os.Geteuid() != 0 {
		return errors.New("unpacking Debian's packages takes root: run this as root")
	}
	for _, arch := range b.archs {
		if arch != "arm64" && arch != "amd64" {
			return fmt.Errorf("architecture %q: use arm64, amd64 or both", arch)
		}
		for _, name := range ours {
			if _, err := os.Stat(b.program(arch, name)); err != nil {
				return fmt.Errorf("%w: run \"make extension\", which builds it first", err)
			}
		}
	}
	if b.modules != "" && len(b.archs) != 1 {
		return errors.New("-modules are for one architecture: name it with -arch")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return errors.New("mmdebstrap is not installed: run scripts/install-packages")
	}
	return nil
}

// ours are Antler's own programs in the extension.
var ours = []string{"antlerd", "antler-fence"}

func (b build) program(arch, name string) string { return filepath.Join(b.bin, arch, name) }

func (b build) run(ctx context.Context, out *os.File) error {
	if err := b.check(); err != nil {
		return err
	}
	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	var images []image
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(b.archs))) {
		made, err := b.image(ctx, arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		images = append(images, made)
	}
	if err := writeImages(b.out, b.tag(), images); err != nil {
		return err
	}
	return report(out, b.out, images)
}

// image makes and checks the image for one architecture.
func (b build) image(ctx context.Context, arch string) (image, error) {
	base, err := tree(arch).Kept(ctx, b.cache, "extension")
	if err != nil {
		return image{}, err
	}
	s := stage{from: filepath.Join(base, "root"), to: filepath.Join(b.out, "stage-"+arch), arch: arch}
	if err := b.fill(s, base); err != nil {
		return image{}, err
	}
	content := filepath.Join(b.out, "antler-"+arch+".content.tar")
	if err := writeContent(s.to, content); err != nil {
		return image{}, err
	}
	made := image{arch: arch, content: content}
	if made.sizes, err = b.accept(s, content); err != nil {
		return image{}, err
	}
	return made, os.RemoveAll(s.to)
}

// fill puts everything into the stage.
func (b build) fill(s stage, base string) error {
	if err := errors.Join(s.programs(), s.files(), s.ours()); err != nil {
		return err
	}
	for _, name := range ours {
		program, err := os.ReadFile(b.program(s.arch, name))
		if err != nil {
			return err
		}
		if err := put(filepath.Join(s.service(), "usr/bin", name), program, 0o755); err != nil {
			return err
		}
	}
	packages, err := os.ReadFile(filepath.Join(base, "packages.txt"))
	if err != nil {
		return err
	}
	manifest, err := b.manifest()
	if err != nil {
		return err
	}
	if b.modules != "" {
		if err := s.drbd(b.modules); err != nil {
			return err
		}
	}
	return errors.Join(
		put(filepath.Join(s.service(), "usr/share/antler/packages.txt"), packages, 0o644),
		put(filepath.Join(s.to, "rootfs", serviceSpec), service, 0o644),
		put(filepath.Join(s.to, "rootfs", udevRules), rules, 0o644),
		put(filepath.Join(s.to, "manifest.yaml"), manifest, 0o644),
	)
}
