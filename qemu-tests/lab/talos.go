package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"

	"antler/image/layout"
	"antler/services/node/config/gen"
)

// talosPort is that of Talos's own API.
const talosPort = 50000

// talosArguments are what Talos's image has on the kernel's command line where it
// is configured by a partition; the dashboard wants a screen.
const talosArguments = "console=ttyAMA0 talos.platform=metal talos.config=metal-iso talos.dashboard.disabled=1 " +
	"slab_nomerge pti=on net.ifnames=0 printk.devkmsg=on panic=5"

// OpenTalos returns the node that `make talos-node` made in dir.
func OpenTalos(dir string) (Image, error) {
	image := Image{
		Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initramfs-antler.zst"),
		Cmdline: talosArguments, talos: true,
	}

	for _, file := range []string{image.Kernel, image.Initrd} {
		_, err := os.Stat(file)
		if err != nil {
			return Image{}, fmt.Errorf("open the Talos node: %w: run `make talos-node` first", err)
		}
	}

	return image, nil
}

// UpgradeTalos has the machine boot the next version of the extension from its next
// start on: what Talos's installer does to a machine's disk.
func (m *Machine) UpgradeTalos() error {
	next := strings.TrimSuffix(m.image.Initrd, ".zst") + "-next.zst"

	_, err := os.Stat(next)
	if err != nil {
		return fmt.Errorf("upgrade the Talos node: %w: run `make talos-node-next` first", err)
	}

	m.image.Initrd = next

	return nil
}

// Sizes of a Talos machine: its root is in memory, and it wants 2 GiB for /var.
const (
	talosMemoryMiB  = 2048
	talosSystemSize = 6 << 30
)

// The partitions of a machine's first disk, in sectors: those that Talos's installer
// makes, and one from which a node takes its configuration when it has none. Talos
// makes the others itself.
var talosPartitions = []*gpt.Partition{
	{Index: 1, Start: 2048, End: 34815, Type: gpt.EFISystemPartition, Name: "EFI"},
	{Index: 2, Start: 34816, End: 36863, Type: gpt.LinuxFilesystem, Name: "META"},
	{Index: 3, Start: 36864, End: 53247, Type: gpt.LinuxFilesystem, Name: "metal-iso"},
}

// talosConfigOffset is where the last of them begins.
const talosConfigOffset = 36864 * layout.Sector

// labPatch is what a machine configuration has because it is the lab's: there is no
// time server and no name server, and what services log goes to the console.
const labPatch = `debug: true
machine:
  time: {disabled: true}
  features: {hostDNS: {enabled: false, forwardKubeDNSToHost: false}}
  network:
    interfaces:
    - deviceSelector: {hardwareAddr: "%[2]s"}
      addresses: [10.77.0.1%[1]d/24, "fd77::1%[1]d/64"]
    - deviceSelector: {hardwareAddr: "%[3]s"}
      dhcp: true
---
apiVersion: v1alpha1
kind: HostnameConfig
hostname: n%[1]d
auto: off
`

// configureTalos makes the machine configurations: as `talosctl gen config` does,
// with the patches that `antlerctl gen config --talos` writes.
func (c *Cluster) configureTalos(files *gen.Files) error {
	dir := filepath.Join(c.Dir, "config")

	_, err := files.WriteTalos(dir, gen.TalosDRBD84)
	if err != nil {
		return err
	}

	bundle, err := secrets.NewBundle(secrets.NewClock(), nil)
	if err != nil {
		return fmt.Errorf("make Talos's secrets: %w", err)
	}

	// The Kubernetes of these machines is never reached: they have no network to
	// take its images from.
	input, err := generate.NewInput("lab", "https://10.77.0.11:6443", "1.35.0",
		generate.WithSecretsBundle(bundle), generate.WithInstallDisk("/dev/vda"), generate.WithClusterDiscovery(false),
		generate.WithAdditionalSubjectAltNames([]string{"127.0.0.1"}), generate.WithEndpointList(c.talosEndpoints()))
	if err != nil {
		return fmt.Errorf("prepare Talos's configuration: %w", err)
	}

	client, err := input.Talosconfig()
	if err != nil {
		return fmt.Errorf("make talosctl's configuration: %w", err)
	}

	err = client.Save(c.ConfigFile("talosconfig"))
	if err != nil {
		return fmt.Errorf("write talosctl's configuration: %w", err)
	}

	made, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		return fmt.Errorf("make Talos's configuration: %w", err)
	}

	base, err := made.Bytes()
	if err != nil {
		return fmt.Errorf("encode Talos's configuration: %w", err)
	}

	for _, m := range c.Machines {
		err = c.configureTalosMachine(m, base)
		if err != nil {
			return fmt.Errorf("configure Talos on %s: %w", m.Name, err)
		}
	}

	return nil
}

// RenewTalos makes the machine's configuration anew, with new certificates, and
// returns the patch with which it is given to Talos.
func (c *Cluster) RenewTalos(m *Machine) (string, error) {
	dir := filepath.Join(c.Dir, "config")

	own, err := gen.LoadSecrets(filepath.Join(dir, gen.SecretsFile))
	if err != nil {
		return "", err
	}

	files, err := gen.Generate(clusterFile(c.Options), own, time.Now())
	if err != nil {
		return "", err
	}

	_, err = files.WriteTalos(dir, gen.TalosDRBD84)

	return c.ConfigFile(m.Name + ".talos-service"), err
}

func (c *Cluster) talosEndpoints() []string {
	var out []string
	for _, m := range c.Machines {
		out = append(out, fmt.Sprintf("127.0.0.1:%d", m.TalosPort))
	}

	return out
}

func (c *Cluster) configureTalosMachine(m *Machine, base []byte) error {
	texts := [][]byte{fmt.Appendf(nil, labPatch, m.index, mac(m.index), accessMAC(m.index))}

	for _, kind := range []string{"machine", "service"} {
		text, err := os.ReadFile(c.ConfigFile(m.Name + ".talos-" + kind))
		if err != nil {
			return err
		}

		texts = append(texts, text)
	}

	var patches []configpatcher.Patch

	for _, text := range texts {
		patch, err := configpatcher.LoadPatch(text)
		if err != nil {
			return err
		}

		patches = append(patches, patch)
	}

	out, err := configpatcher.Apply(configpatcher.WithBytes(base), patches)
	if err != nil {
		return err
	}

	raw, err := out.Bytes()
	if err != nil {
		return err
	}

	return os.WriteFile(c.ConfigFile(m.Name+".talos"), raw, 0o600)
}

// flashTalos makes the first disk of a Talos machine.
func (m *Machine) flashTalos(ctx context.Context, configFile string) error {
	system := m.system()

	err := errors.Join(blank(system, talosSystemSize), partitionTalos(system))
	if err != nil {
		return fmt.Errorf("make the disk of %s: %w", m.Name, err)
	}

	at := fmt.Sprintf("%s@@%d", system, talosConfigOffset)

	for _, command := range [][]string{
		{"mformat", "-i", at, "-T", "16384", "-h", "64", "-s", "32", "-v", "METAL-ISO", "::"},
		{"mcopy", "-i", at, configFile, "::config.yaml"},
	} {
		output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("make the disk of %s: %s: %w: %s", m.Name, command[0], err, output)
		}
	}

	return nil
}

func partitionTalos(path string) (err error) {
	disk, err := file.OpenFromPath(path, false)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, disk.Close()) }()

	writable, err := disk.Writable()
	if err != nil {
		return err
	}

	table := &gpt.Table{LogicalSectorSize: layout.Sector, PhysicalSectorSize: layout.Sector, ProtectiveMBR: true}

	for _, partition := range talosPartitions {
		copied := *partition
		copied.Size = (copied.End - copied.Start + 1) * layout.Sector
		table.Partitions = append(table.Partitions, &copied)
	}

	return table.Write(writable, talosSystemSize)
}

// Talosctl runs talosctl, of the directory programs, against the machine, and
// returns what it printed.
func (c *Cluster) Talosctl(ctx context.Context, programs string, m *Machine, args ...string) (string, error) {
	own := []string{
		"--talosconfig", c.ConfigFile("talosconfig"), "-e", "127.0.0.1:" + strconv.Itoa(m.TalosPort),
		"-n", fmt.Sprintf("10.77.0.1%d", m.index),
	}

	output, err := exec.CommandContext(ctx, filepath.Join(programs, "talosctl"), append(own, args...)...).CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("talosctl %s: %w: %s", strings.Join(args, " "), err, output)
	}

	return string(output), nil
}

// memory that a machine with the image has, in MiB.
func (i Image) memory() int {
	if i.talos {
		return talosMemoryMiB
	}

	return memoryMiB
}
