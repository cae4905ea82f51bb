package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
)

// Host is what ValidateLocal asks of the machine.
type Host interface {
	// Networks are the addresses with prefix length on the interfaces.
	Networks() ([]netip.Prefix, error)
	// DeviceSize is the size of a block device in bytes; fs.ErrNotExist when
	// there is none.
	DeviceSize(path string) (int64, error)
}

// ValidateLocal checks what needs the machine, once its network is up: the
// floating addresses against the interfaces, and the devices' presence and
// size. What is on a device is the replication service's business. Nothing is
// written.
func ValidateLocal(c *Config, host Host) error {
	var problems Problems

	self := c.Self()

	if self.Has(RoleMetadata) {
		validateDevice(&problems, host, "node.replica.device", c.Node.Replica.Device, MinReplicaSize)

		err := validateInterfaces(&problems, host, c.Cluster.Floating)
		if err != nil {
			return err
		}
	}

	for i, store := range c.Node.Chunks {
		if store.Device != "" {
			validateDevice(&problems, host, index("node.chunks", i)+".device", store.Device, MinReplicaSize)
		}
	}

	return problems.err()
}

func validateDevice(p *Problems, host Host, path, device string, least int64) {
	size, err := host.DeviceSize(device)

	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.add(path, device+" is not there", "plug the disk in, or correct the path")
	case err != nil:
		p.add(path, err.Error(), "correct the path")
	case size < least:
		p.add(path, fmt.Sprintf("%s has %d MiB, which is too small", device, size>>20), fmt.Sprintf("use one of at least %d MiB", least>>20))
	}
}

func validateInterfaces(p *Problems, host Host, floating []netip.Prefix) error {
	networks, err := host.Networks()
	if err != nil {
		return fmt.Errorf("list the addresses of this machine: %w", err)
	}

	for i, address := range floating {
		if !within(networks, address.Addr()) {
			p.add(index("cluster.floating", i), fmt.Sprintf("%s is outside every local network %v", address, networks),
				"write a free address of one of them, or give this machine an address in its network")
		}
	}

	return nil
}

// Machine is the machine that this runs on.
type Machine struct{}

// Networks implements Host.
func (Machine) Networks() ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}

	var out []netip.Prefix

	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, prefix)
		}
	}

	return out, nil
}

// DeviceSize implements Host. A file's mode is looked at first: opening some
// character devices has effects.
func (Machine) DeviceSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}

	if info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return 0, fmt.Errorf("%s is not a block device", path)
	}

	device, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer device.Close()

	return device.Seek(0, io.SeekEnd)
}
