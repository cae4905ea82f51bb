package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"unicode"
)

func (c *Config) validateNode(p *Problems) {
	self, known := c.Cluster.Member(c.Node.Name)
	if !known {
		p.add("node.name", fmt.Sprintf("%q is not among the nodes of the cluster (%s)", c.Node.Name, names(c.Cluster.Nodes)), genHint)

		return
	}

	c.Node.validateReplica(p, self)
	c.Node.validateChunks(p, self)
	c.Node.Network.validate(p, self)
	c.Node.K3s.validate(p)
	c.validateNodeFloating(p, self)
}

func (n Node) validateReplica(p *Problems, self Member) {
	const path = "node.replica.device"

	device := n.Replica.Device

	switch {
	case self.Has(RoleMetadata) && device == "":
		p.add(path, fmt.Sprintf("%s has the role metadata and no device for its replica", self.Name),
			fmt.Sprintf("name a disk or partition of at least %d MiB that nothing else uses", MinReplicaSize>>20))
	case !self.Has(RoleMetadata) && device != "":
		p.add(path, fmt.Sprintf("%s does not have the role metadata and needs no replica", self.Name), "remove it, or give the node the role")
	case device != "" && !isDevice(device):
		p.add(path, fmt.Sprintf("%q is not the path of a device", device), "write one that stays the same, such as /dev/disk/by-id/... or /dev/vdb")
	}
}

func (n Node) validateChunks(p *Problems, self Member) {
	const path = "node.chunks"

	switch {
	case self.Has(RoleChunkserver) && len(n.Chunks) == 0:
		p.add(path, fmt.Sprintf("%s has the role chunkserver and no place for chunks", self.Name), "name a device or a path")
	case !self.Has(RoleChunkserver) && len(n.Chunks) > 0:
		p.add(path, fmt.Sprintf("%s does not have the role chunkserver", self.Name), "remove them, or give the node the role")
	}

	taken := map[string]string{n.Replica.Device: "node.replica.device"}

	for i, store := range n.Chunks {
		at := index(path, i)

		place := store.Device + store.Path

		switch {
		case (store.Device == "") == (store.Path == ""):
			p.add(at, "needs exactly one of device and path", "write one")

			continue
		case store.Device != "" && !isDevice(store.Device):
			p.add(at+".device", fmt.Sprintf("%q is not the path of a device", store.Device), "write one that stays the same, such as /dev/disk/by-id/... or /dev/vdc")
		case store.Path != "" && !isPath(store.Path):
			p.add(at+".path", fmt.Sprintf("%q is not a clean absolute path", store.Path), "write for example /var/lib/antler/chunks")
		}

		if first, double := taken[place]; double {
			p.add(at, fmt.Sprintf("%s is %s already", place, first), "use each place once")
		}

		taken[place] = at
	}
}

func (n Network) validate(p *Problems, self Member) {
	const path = "node.network"

	if n.MAC == "" && n.Interface == "" {
		if n.DHCP || len(n.Addresses) > 0 || n.Gateway.IsValid() || len(n.DNS) > 0 || len(n.NTP) > 0 {
			p.add(path, "names no interface", "write mac or interface")
		}

		return
	}

	if n.MAC != "" && n.Interface != "" {
		p.add(path, "names its interface twice, by mac and by interface", "keep one")
	}

	if _, err := net.ParseMAC(n.MAC); n.MAC != "" && err != nil {
		p.add(path+".mac", fmt.Sprintf("%q is not a MAC address", n.MAC), "write for example 52:54:00:12:34:56")
	}

	if len(n.Interface) > 15 || strings.ContainsAny(n.Interface, " /\n") {
		p.add(path+".interface", fmt.Sprintf("%q is not an interface's name", n.Interface), "write for example eth0")
	}

	for i, server := range n.NTP {
		// It becomes a word in a file of systemd-networkd's.
		if server == "" || strings.ContainsFunc(server, func(r rune) bool {
			return !strings.ContainsRune(".-:", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			p.add(index(path+".ntp", i), fmt.Sprintf("%q is not the address or name of a server", server), "write for example 192.168.1.1")
		}
	}

	n.validateAddresses(p, path, self)
}

func (n Network) validateAddresses(p *Problems, path string, self Member) {
	if !n.DHCP && len(n.Addresses) == 0 {
		p.add(path+".addresses", "there are none", "write some with prefix length, or dhcp: true")
	}

	own := false

	for i, address := range n.Addresses {
		if !address.IsValid() || address.Addr().IsUnspecified() {
			p.add(index(path+".addresses", i), "is not an address with prefix length", "write for example 192.168.1.11/24")
		}

		own = own || address.Addr() == self.Address
	}

	if !n.DHCP && len(n.Addresses) > 0 && !own {
		p.add(path+".addresses", fmt.Sprintf("the address by which the others know %s, %s, is not among them", self.Name, text(self.Address)), "add it")
	}

	if n.Gateway.IsValid() && len(n.Addresses) > 0 && !within(n.Addresses, n.Gateway) && !n.Gateway.IsLinkLocalUnicast() {
		p.add(path+".gateway", fmt.Sprintf("%s is in the network of none of the addresses", n.Gateway), "correct it, or the address's prefix length")
	}
}

// validateNodeFloating checks the floating addresses against the static network
// of a node that shall hold them. Those of the family of the node's address
// have been checked against that.
func (c *Config) validateNodeFloating(p *Problems, self Member) {
	if !self.Has(RoleMetadata) || len(c.Node.Network.Addresses) == 0 || c.Node.Network.DHCP {
		return
	}

	for i, floating := range c.Cluster.Floating {
		if floating.IsValid() && floating.Addr().Is4() != self.Address.Is4() && !within(c.Node.Network.Addresses, floating.Addr()) {
			p.add(index("cluster.floating", i), fmt.Sprintf("%s is outside every network of %s", floating, self.Name),
				"write a free address of a network that both metadata nodes are in")
		}
	}
}

func isDevice(path string) bool { return strings.HasPrefix(path, "/dev/") && isPath(path) }

func isPath(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && !strings.ContainsAny(path, " \t\n")
}
