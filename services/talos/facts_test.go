package talos_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/stretchr/testify/require"

	"antler/services/talos"
)

func create(t *testing.T, resources state.State, list ...resource.Resource) {
	t.Helper()

	for _, r := range list {
		require.NoError(t, resources.Create(t.Context(), r))
	}
}

func hostname(name, domain string) *network.HostnameStatus {
	out := network.NewHostnameStatus(network.NamespaceName, network.HostnameID)
	out.TypedSpec().Hostname, out.TypedSpec().Domainname = name, domain

	return out
}

func addresses(list ...string) *network.NodeAddress {
	out := network.NewNodeAddress(network.NamespaceName, network.NodeAddressAccumulativeID)
	for _, address := range list {
		out.TypedSpec().Addresses = append(out.TypedSpec().Addresses, netip.MustParsePrefix(address))
	}

	return out
}

func partition(device, disk, label string) *block.DiscoveredVolume {
	out := block.NewDiscoveredVolume(block.NamespaceName, filepath.Base(device))
	out.TypedSpec().DevPath, out.TypedSpec().ParentDevPath, out.TypedSpec().PartitionLabel = device, disk, label

	return out
}

func volume(id, device, disk string) *block.VolumeStatus {
	out := block.NewVolumeStatus(block.NamespaceName, id)
	out.TypedSpec().Location, out.TypedSpec().ParentLocation = device, disk
	out.TypedSpec().Phase = block.VolumePhaseReady

	return out
}

func systemDisk(device string) *block.SystemDisk {
	out := block.NewSystemDisk(block.NamespaceName, block.SystemDiskID)
	out.TypedSpec().DiskID, out.TypedSpec().DevPath = filepath.Base(device), device

	return out
}

func TestTheNodesNameAndAddressesAreRead(t *testing.T) {
	machine, resources := machined(t)

	facts, err := machine.Facts(t.Context())
	require.NoError(t, err, "a node that just boots has none of it")
	require.Equal(t, talos.Facts{Taken: talos.Taken{}}, facts)

	create(t, resources, hostname("n1", "example.org"), addresses("192.168.1.11/24", "fd00::11/64"))

	facts, err = machine.Facts(t.Context())
	require.NoError(t, err)
	require.Equal(t, "n1", facts.Hostname)
	require.Equal(t, "example.org", facts.Domainname)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("192.168.1.11"), netip.MustParseAddr("fd00::11")}, facts.Addresses)
}

func TestTalossDevicesAreRead(t *testing.T) {
	machine, resources := machined(t)
	create(t, resources,
		systemDisk("/dev/vda"),
		partition("/dev/vda", "", ""),
		partition("/dev/vda1", "/dev/vda", constants.EFIPartitionLabel),
		partition("/dev/vda2", "/dev/vda", constants.MetaPartitionLabel),
		partition("/dev/vda5", "/dev/vda", constants.RawVolumePrefix+"chunks"),
		partition("/dev/vdb1", "/dev/vdb", constants.StatePartitionLabel),
		partition("/dev/vdc1", "/dev/vdc", constants.UserVolumePrefix+"photos"),
		partition("/dev/vdd", "", ""),
		volume(constants.MetaPartitionLabel, "/dev/vda2", "/dev/vda"),
		volume(constants.RawVolumePrefix+"chunks", "/dev/vda5", "/dev/vda"),
		volume(constants.UserVolumePrefix+"photos", "/dev/vdc1", "/dev/vdc"),
		volume(constants.UserVolumePrefix+"films", "/dev/vde", ""),
		volume("/var/log", "", ""),
		volume("/var/run", "/run", ""),
	)

	facts, err := machine.Facts(t.Context())
	require.NoError(t, err)
	require.Equal(t, talos.Taken{
		"/dev/vda":  "is Talos's system disk",
		"/dev/vda1": "is Talos's partition EFI",
		"/dev/vda2": "is Talos's volume META",
		"/dev/vdb":  "holds Talos's partition STATE (/dev/vdb1)",
		"/dev/vdb1": "is Talos's partition STATE",
		"/dev/vdc":  "holds Talos's volume u-photos (/dev/vdc1)",
		"/dev/vdc1": "is Talos's volume u-photos",
		"/dev/vde":  "is Talos's volume u-films",
	}, facts.Taken)
}

// TestEveryPartitionOfTalosIsKnown holds the labels against Talos's own list.
func TestEveryPartitionOfTalosIsKnown(t *testing.T) {
	machine, resources := machined(t)

	for _, label := range []string{
		constants.EFIPartitionLabel, constants.BIOSGrubPartitionLabel, constants.BootPartitionLabel, constants.MetaPartitionLabel,
		constants.StatePartitionLabel, constants.EphemeralPartitionLabel, constants.ImageCachePartitionLabel,
	} {
		create(t, resources, partition("/dev/"+label, "", label))
	}

	facts, err := machine.Facts(t.Context())
	require.NoError(t, err)
	require.Len(t, facts.Taken, 7)
}

func TestADeviceIsFoundByItsLinks(t *testing.T) {
	dir := t.TempDir()
	disk, link := filepath.Join(dir, "vda"), filepath.Join(dir, "by-id")

	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Symlink("vda", link))

	taken := talos.Taken{disk: "is Talos's system disk"}
	require.Equal(t, "is Talos's system disk", taken.By(disk))
	require.Equal(t, "is Talos's system disk", taken.By(link))
	require.Empty(t, taken.By(filepath.Join(dir, "gone")))
	require.Empty(t, talos.Taken(nil).By(disk))
}
