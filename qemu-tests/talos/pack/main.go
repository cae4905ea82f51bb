// Command pack adds our extension to an initramfs of Talos by the packages that
// Talos's own imager is made of: it extracts the image for an architecture from the
// OCI layout, validates it, and appends it. It is a module of its own, because Talos
// asks for other versions of what both depend on.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/siderolabs/talos/pkg/imager/extensions"
	"github.com/siderolabs/talos/pkg/imager/profile"
	"github.com/siderolabs/talos/pkg/machinery/imager/quirks"
)

// version of Talos that the extension is packed for: that of the module.
const version = "v1.13.0"

func main() {
	oci := flag.String("extension", "build/extension/oci", "OCI layout with the extension")
	arch := flag.String("arch", "arm64", "architecture")
	from := flag.String("from", "build/talos/initramfs.zst", "initramfs to add it to, which stays as it is")
	to := flag.String("o", "build/talos/initramfs-antler.zst", "initramfs with the extension")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := pack(ctx, *oci, *arch, *from, *to, log.Printf); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// pack writes to, which is from with the extension.
func pack(ctx context.Context, oci, arch, from, to string, say func(string, ...any)) error {
	tree, err := os.MkdirTemp(filepath.Dir(to), "pack-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	layer := filepath.Join(tree, "000.antler")
	if err := os.Mkdir(layer, 0o755); err != nil {
		return err
	}
	asset := profile.ContainerAsset{OCIPath: oci}
	if err := asset.Extract(ctx, layer, arch, say, nil); err != nil {
		return fmt.Errorf("extract the extension for %s from %s: %w", arch, oci, err)
	}
	initramfs, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, initramfs, 0o644); err != nil {
		return err
	}
	builder := extensions.Builder{
		InitramfsPath: to, Arch: arch, ExtensionTreePath: tree, ExtensionValidateContents: true,
		Printf: say, Quirks: quirks.New(version),
	}
	return builder.Build(ctx)
}
