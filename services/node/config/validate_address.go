package config

import (
	"fmt"
	"net/netip"
)

func (c Cluster) validateAddresses(p *Problems) {
	taken := map[netip.Addr]string{}

	for i, m := range c.Nodes {
		path := index("cluster.nodes", i) + ".address"

		if !usable(m.Address) {
			p.add(path, fmt.Sprintf("%s is not an address that other nodes can reach", text(m.Address)), "write the node's IPv4 or IPv6 address")

			continue
		}

		if first, double := taken[m.Address]; double {
			p.add(path, fmt.Sprintf("%s is the address of %s already", m.Address, first), "give each node its own")

			continue
		}

		taken[m.Address] = index("cluster.nodes", i)
	}

	c.validateFloating(p, taken)
	c.validateNetworks(p)
}

func (c Cluster) validateFloating(p *Problems, taken map[netip.Addr]string) {
	if len(c.Floating) == 0 && len(c.With(RoleMetadata)) > 1 {
		p.add("cluster.floating", "there is none, so clients could not find the master after it moved",
			"write a free address of your network with its prefix length, such as 192.168.1.250/24")
	}

	families := map[bool]int{}

	for i, floating := range c.Floating {
		path := index("cluster.floating", i)

		if !floating.IsValid() || !usable(floating.Addr()) {
			p.add(path, "is not an address with prefix length", "write for example 192.168.1.250/24")

			continue
		}

		if member, double := taken[floating.Addr()]; double {
			p.add(path, fmt.Sprintf("%s is the address of %s", floating.Addr(), member), "it moves between nodes: write an address that nobody has")
		}

		if first, double := families[floating.Addr().Is4()]; double {
			p.add(path, fmt.Sprintf("%s is of the same family as %s", floating, c.Floating[first]), "write at most one IPv4 and one IPv6 address")
		} else {
			families[floating.Addr().Is4()] = i
		}

		c.validateReach(p, path, floating)
	}
}

// validateReach refuses a floating address that isn't in the network of the
// nodes that shall hold it: nobody on that network would find it.
func (c Cluster) validateReach(p *Problems, path string, floating netip.Prefix) {
	for _, m := range c.With(RoleMetadata) {
		if !usable(m.Address) || m.Address.Is4() != floating.Addr().Is4() || floating.Masked().Contains(m.Address) {
			continue
		}

		p.add(path, fmt.Sprintf("%s is outside the network of %s (%s)", floating, m.Name, m.Address),
			"write a free address of the metadata nodes' network, with that network's prefix length")

		return
	}
}

func (c Cluster) validateNetworks(p *Problems) {
	if len(c.Networks) == 0 {
		p.add("cluster.networks", "there are none, so nobody could mount", "write the networks of nodes and clients, such as 192.168.1.0/24")

		return
	}

	valid := true

	for i, network := range c.Networks {
		path := index("cluster.networks", i)

		switch {
		case !network.IsValid():
			valid = false

			p.add(path, "is not a network", "write for example 192.168.1.0/24")
		case network != network.Masked():
			p.add(path, fmt.Sprintf("%s is an address in a network", network), fmt.Sprintf("write %s", network.Masked()))
		}
	}

	if !valid {
		return
	}

	for i, m := range c.Nodes {
		// These mount, as clients or to manage volumes.
		if !m.Has(RoleClient) && !m.Has(RoleMetadata) || !usable(m.Address) || within(c.Networks, m.Address) {
			continue
		}

		p.add(index("cluster.nodes", i)+".address", fmt.Sprintf("%s is in none of cluster.networks, so %s could not mount", m.Address, m.Name),
			"add its network there")
	}
}

// usable says whether other machines can reach the address and keep it apart
// from their own.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a.Zone() == "" && !a.Is4In6()
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, network := range networks {
		if network.Masked().Contains(a) {
			return true
		}
	}

	return false
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return `""`
	}

	return a.String()
}
