package main

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"go.yaml.in/yaml/v4"

	"antler/extension/validate"
)

//go:embed service/antler.yaml
var service []byte

// rules keep udev from DRBD's devices: the same as on the appliance. Those of
// drbd-utils don't, and have udev run drbdadm, which a Talos node hasn't.
//
//go:embed udev/61-antler-drbd.rules
var rules []byte

// budget is the most that the unpacked root may take. It is read into memory
// when a node boots, and the smallest nodes have 1 GiB.
const budget = 64 << 20

func (b build) want(arch string) validate.Want {
	return validate.Want{Name: extension, Arch: arch, Kernel: b.kernel(), Budget: budget}
}

// manifest is what Talos shows of the extension.
func (b build) manifest() ([]byte, error) {
	description := "A highly available MooseFS master, chunkservers and mounts."
	if b.modules != "" {
		description += " With DRBD for the kernel " + b.kernel() + "."
	}
	return yaml.Marshal(extensions.Manifest{
		Version: "v1alpha1",
		Metadata: extensions.Metadata{
			Name: extension, Version: b.tag(), Author: "The Antler authors", Description: description,
			// What is known of extension services here was seen on 1.13.
			Compatibility: extensions.Compatibility{Talos: extensions.Constraint{Version: ">= v1.13.0"}},
		},
	})
}

// accept checks what is going to be shipped, by our rules and by Talos's own,
// and returns what takes the room.
func (b build) accept(s stage, content string) (map[string]int64, error) {
	file, err := os.Open(content)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	entries, err := validate.Read(file)
	if err != nil {
		return nil, err
	}
	sizes := validate.Sizes(entries, part)
	if err := validate.Check(entries, b.want(s.arch)); err != nil {
		return nil, fmt.Errorf("the extension is %w\n%s", err, table(sizes))
	}
	loaded, err := extensions.Load(s.to)
	if err != nil {
		return nil, fmt.Errorf("load the extension as Talos does: %w", err)
	}
	err = loaded.Validate(extensions.WithValidateContents(), extensions.WithValidateConstraints())
	if err != nil {
		return nil, fmt.Errorf("validate the extension as Talos does: %w", err)
	}
	return sizes, nil
}

// part names what a file is part of, for the table of sizes.
func part(path string) string {
	path = strings.TrimPrefix(path, "rootfs/")
	inner := strings.TrimPrefix(path, serviceRoot+"/")
	base := inner[strings.LastIndex(inner, "/")+1:]
	switch {
	case strings.HasPrefix(inner, "usr/bin/antler"):
		return "antler"
	case strings.HasPrefix(path, "usr/lib/modules/"):
		return "kernel modules"
	case strings.HasPrefix(base, "mfs"):
		return "MooseFS"
	case strings.HasPrefix(base, "drbd"):
		return "drbd-utils"
	case strings.Contains(base, ".so"):
		return "libraries"
	case strings.HasPrefix(inner, "usr/share/doc/"):
		return "licences"
	case strings.HasPrefix(inner, "usr/bin/"), strings.HasPrefix(inner, "usr/sbin/"):
		return "tools for disks, shell"
	}
	return "the rest"
}

// table of sizes, the largest first.
func table(sizes map[string]int64) string {
	var b strings.Builder
	var total int64
	names := slices.SortedFunc(maps.Keys(sizes), func(x, y string) int { return int(sizes[y] - sizes[x]) })
	for _, name := range names {
		total += sizes[name]
		fmt.Fprintf(&b, "%8.2f MiB  %s\n", mib(sizes[name]), name)
	}
	fmt.Fprintf(&b, "%8.2f MiB  in all, of %.0f allowed\n", mib(total), mib(budget))
	return b.String()
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// report says what was made.
func report(w io.Writer, out string, images []image) error {
	for _, made := range images {
		_, err := fmt.Fprintf(w, "extension: %s %s, %.2f MiB compressed\n%s", made.arch, made.digest, mib(made.size), table(made.sizes))
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "extension: checked by our rules and Talos's own; %s/oci is the OCI layout\n", out)
	return err
}
