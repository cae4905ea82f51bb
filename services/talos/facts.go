package talos

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cosi-project/runtime/pkg/state"
)

// Facts are what Talos knows of the node. What it doesn't know yet is empty.
type Facts struct {
	Hostname, Domainname string
	// Addresses that the node has had since it booted: one whose cable is pulled is
	// still the node's.
	Addresses []netip.Addr
	// Taken are the devices of Talos's own.
	Taken Taken
}

// Facts reads them. A part that Talos doesn't know yet is no error.
func (m Machine) Facts(ctx context.Context) (Facts, error) {
	machined, err := m.connect()
	if err != nil {
		return Facts{}, err
	}
	defer machined.conn.Close()

	var facts Facts

	for _, read := range []func(context.Context, reader) error{facts.readName, facts.readAddresses, facts.readDevices} {
		err = read(ctx, machined)
		if err != nil && !state.IsNotFoundError(err) {
			return Facts{}, fmt.Errorf("ask machined about the node: %w", err)
		}
	}

	return facts, nil
}

// Namespaces of Talos's resources.
const (
	networkNamespace = "network"
	runtimeNamespace = "runtime"
)

func (f *Facts) readName(ctx context.Context, machined reader) error {
	var status struct {
		Hostname   string `yaml:"hostname"`
		Domainname string `yaml:"domainname"`
	}

	err := machined.get(ctx, networkNamespace, "HostnameStatuses.net.talos.dev", "hostname", &status)
	f.Hostname, f.Domainname = status.Hostname, status.Domainname

	return err
}

func (f *Facts) readAddresses(ctx context.Context, machined reader) error {
	var status struct {
		Addresses []netip.Prefix `yaml:"addresses"`
	}

	err := machined.get(ctx, networkNamespace, "NodeAddresses.net.talos.dev", "accumulative", &status)
	for _, address := range status.Addresses {
		f.Addresses = append(f.Addresses, address.Addr())
	}

	return err
}

// readDevices finds out which devices are Talos's: its system disk, the partitions
// with its labels wherever they are, and its volumes.
func (f *Facts) readDevices(ctx context.Context, machined reader) error {
	f.Taken = Taken{}

	err := f.readPartitions(ctx, machined)
	if err != nil {
		return err
	}

	err = f.readVolumes(ctx, machined)
	if err != nil {
		return err
	}

	var disk struct {
		DevPath string `yaml:"devPath"`
	}

	err = machined.get(ctx, runtimeNamespace, "SystemDisks.block.talos.dev", "system-disk", &disk)
	if disk.DevPath != "" {
		f.Taken[disk.DevPath] = "is Talos's system disk"
	}

	return err
}

// labels of the partitions that Talos makes for itself.
var labels = map[string]bool{
	"EFI": true, "BIOS": true, "BOOT": true, "META": true, "STATE": true, "EPHEMERAL": true, "IMAGECACHE": true,
}

func (f *Facts) readPartitions(ctx context.Context, machined reader) error {
	type partition struct {
		DevPath string `yaml:"dev_path"`
		Disk    string `yaml:"parent_dev_path"`
		Label   string `yaml:"partition_label"`
	}

	return each(ctx, machined, "DiscoveredVolumes.block.talos.dev", func(_ string, p partition) {
		if labels[p.Label] {
			f.Taken.add(p.DevPath, p.Disk, "Talos's partition "+p.Label)
		}
	})
}

// rawVolume begins the id of a volume that Talos makes and leaves to others: that is
// how a part of its disk is given to Antler.
const rawVolume = "r-"

func (f *Facts) readVolumes(ctx context.Context, machined reader) error {
	type volume struct {
		Location string `yaml:"location"`
		Disk     string `yaml:"parentLocation"`
	}

	return each(ctx, machined, "VolumeStatuses.block.talos.dev", func(id string, v volume) {
		// Others are directories, and what is in memory.
		if strings.HasPrefix(v.Location, "/dev/") && !strings.HasPrefix(id, rawVolume) {
			f.Taken.add(v.Location, v.Disk, "Talos's volume "+id)
		}
	})
}
