package gen

import (
	"net/netip"
	"slices"

	"antler/services/node/config"
)

// ClusterFile is the one small file that a person writes about a cluster.
type ClusterFile struct {
	// Name of the cluster.
	Name string `yaml:"name"`
	// Floating addresses with prefix length, at most one IPv4 and one IPv6.
	Floating []netip.Prefix `yaml:"floating"`
	// Networks from which may be mounted; by default those of the floating
	// addresses and of the nodes.
	Networks []netip.Prefix `yaml:"networks"`
	// Storage holds the defaults for new data.
	Storage Storage `yaml:"storage"`
	// Metadata: backups of it are off by default.
	Metadata config.Metadata `yaml:"metadata"`
	// Kubernetes is off by default.
	Kubernetes config.Kubernetes `yaml:"kubernetes"`
	// Nodes are all members.
	Nodes []Node `yaml:"nodes"`
}

// Storage is config.Storage with everything optional.
type Storage struct {
	// Copies of each chunk; 2 by default, or 1 with a single chunkserver.
	Copies *int `yaml:"copies"`
	// TrashTime in seconds; 86400 by default.
	TrashTime *int `yaml:"trashTime"`
	// Durability of acknowledged metadata; "safe" by default.
	Durability config.Durability `yaml:"durability"`
}

// Node is one member with what is its own.
type Node struct {
	Name    string     `yaml:"name"`
	Address netip.Addr `yaml:"address"`
	// Roles; if no node has any, the first two are metadata nodes, the third is
	// the witness, and whoever has a place for chunks is a chunkserver.
	Roles   []config.Role       `yaml:"roles"`
	Replica config.Replica      `yaml:"replica"`
	Chunks  []config.ChunkStore `yaml:"chunks"`
	Network config.Network      `yaml:"network"`
	K3s     config.K3s          `yaml:"k3s"`
	Debug   config.Debug        `yaml:"debug"`
}

// ParseClusterFile decodes a cluster file. An unknown key is an error.
func ParseClusterFile(raw []byte) (*ClusterFile, error) {
	file := &ClusterFile{}

	err := config.Decode(raw, file)
	if err != nil {
		return nil, err
	}

	return file, nil
}

// members are the nodes as all nodes see them, with their roles.
func (f *ClusterFile) members() []config.Member {
	open := !slices.ContainsFunc(f.Nodes, func(n Node) bool { return len(n.Roles) > 0 })

	out := make([]config.Member, 0, len(f.Nodes))

	for i, n := range f.Nodes {
		roles := n.Roles
		if open {
			roles = n.defaultRoles(i)
		}

		out = append(out, config.Member{Name: n.Name, Address: n.Address, Roles: roles})
	}

	return out
}

func (n Node) defaultRoles(i int) []config.Role {
	var roles []config.Role

	switch i {
	case 0, 1:
		roles = append(roles, config.RoleMetadata)
	case 2:
		roles = append(roles, config.RoleWitness, config.RoleMetalogger)
	}

	if len(n.Chunks) > 0 {
		roles = append(roles, config.RoleChunkserver)
	}

	return append(roles, config.RoleClient)
}

// networks are those given, or else the networks that the addresses lie in.
func (f *ClusterFile) networks() []netip.Prefix {
	if len(f.Networks) > 0 {
		return f.Networks
	}

	var out []netip.Prefix

	add := func(p netip.Prefix) {
		if p.IsValid() && !slices.Contains(out, p.Masked()) {
			out = append(out, p.Masked())
		}
	}

	for _, floating := range f.Floating {
		add(floating)
	}

	for _, n := range f.Nodes {
		for _, address := range n.Network.Addresses {
			add(address)
		}
	}

	for _, n := range f.Nodes {
		contains := func(p netip.Prefix) bool { return p.Contains(n.Address) }
		if n.Address.IsValid() && !slices.ContainsFunc(out, contains) {
			add(netip.PrefixFrom(n.Address, n.Address.BitLen()))
		}
	}

	return out
}

func (f *ClusterFile) storage(members []config.Member) config.Storage {
	out := config.Storage{
		Copies:     config.DefaultCopies,
		TrashTime:  config.DefaultTrashTime,
		Durability: config.DurabilitySafe,
	}

	if len((config.Cluster{Nodes: members}).With(config.RoleChunkserver)) == 1 {
		out.Copies = 1
	}

	if f.Storage.Copies != nil {
		out.Copies = *f.Storage.Copies
	}

	if f.Storage.TrashTime != nil {
		out.TrashTime = *f.Storage.TrashTime
	}

	if f.Storage.Durability != "" {
		out.Durability = f.Storage.Durability
	}

	return out
}
