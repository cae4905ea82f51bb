// Package config is the one file that describes a node: the cluster it belongs
// to, what this node contributes, and the keys with which nodes know each
// other. `antlerctl gen config` writes one for each node from one small cluster
// file; antlerd reads it whole, validates it whole and only then touches
// anything.
//
// The cluster section is the same on every node, by construction: settings that
// MooseFS sessions depend on (the exports above all) are derived from it and
// from nothing else.
package config

import (
	"net/netip"
	"time"
)

// Role is what a node does in the cluster. A node has any mix of them.
type Role string

// The roles a node can have.
const (
	// RoleMetadata holds a DRBD replica of the master's metadata and may run
	// mfsmaster. Such a node votes.
	RoleMetadata Role = "metadata"
	// RoleWitness votes and holds no replica.
	RoleWitness Role = "witness"
	// RoleChunkserver stores chunks.
	RoleChunkserver Role = "chunkserver"
	// RoleMetalogger keeps a running copy of the master's changelog.
	RoleMetalogger Role = "metalogger"
	// RoleClient mounts MooseFS at MountPath.
	RoleClient Role = "client"
)

// Durability says what an acknowledgement of a metadata operation is worth.
type Durability string

const (
	// DurabilitySafe means that an acknowledged operation is in a changelog on
	// both replicas (CHANGELOG_SAVE_MODE 2). The default.
	DurabilitySafe Durability = "safe"
	// DurabilityLoseSecondsOnPowerCut acknowledges before the changelog is
	// written (CHANGELOG_SAVE_MODE 0): a power cut of the serving node loses
	// what was acknowledged since the last flush.
	DurabilityLoseSecondsOnPowerCut Durability = "lose-seconds-on-power-cut"
)

// Config is a node's whole configuration.
type Config struct {
	// Version of the format; 1.
	Version int `yaml:"version"`
	// Cluster is the same on every node.
	Cluster Cluster `yaml:"cluster"`
	// Node is this node's own part.
	Node Node `yaml:"node"`
	// PKI holds the keys of this node.
	PKI PKI `yaml:"pki"`
}

// Cluster describes the whole cluster.
type Cluster struct {
	// Name is for people, and part of the certificates.
	Name string `yaml:"name"`
	// ID is a random UUID made by `antlerctl gen config`; it tells this
	// cluster's disks and nodes from another's.
	ID string `yaml:"id"`
	// Nodes are all members.
	Nodes []Member `yaml:"nodes"`
	// Floating are the addresses (with prefix length) under which the serving
	// master is reached; at most one IPv4 and one IPv6.
	Floating []netip.Prefix `yaml:"floating"`
	// Networks are those from which MooseFS clients may mount.
	Networks []netip.Prefix `yaml:"networks"`
	// Storage holds the defaults for new data.
	Storage Storage `yaml:"storage"`
	// Metadata is what is done for the metadata beside replicating it.
	Metadata Metadata `yaml:"metadata,omitempty"`
	// Kubernetes makes the cluster's client nodes serve its volumes to kubelet.
	Kubernetes Kubernetes `yaml:"kubernetes,omitempty"`
	// Password is asked of every MooseFS client; AdminPassword of the mounts
	// that may set quotas and storage classes (antlerd's own).
	Password      string `yaml:"password"`
	AdminPassword string `yaml:"adminPassword"`
	// ChunkserverSecret is AUTH_CODE between chunkservers, metaloggers and the
	// master.
	ChunkserverSecret string `yaml:"chunkserverSecret"`
}

// Member is one node as all nodes see it.
type Member struct {
	Name    string     `yaml:"name"`
	Address netip.Addr `yaml:"address"`
	Roles   []Role     `yaml:"roles"`
}

// Storage holds the defaults for new data and the price paid for durability.
type Storage struct {
	// Copies of each chunk, on different chunkservers; 2 by default.
	Copies int `yaml:"copies"`
	// TrashTime in seconds that a deleted file stays in MooseFS's trash;
	// 86400 by default.
	TrashTime int `yaml:"trashTime"`
	// Durability of acknowledged metadata; "safe" by default.
	Durability Durability `yaml:"durability"`
}

// Kubernetes is the CSI driver in antlerd. It is off by default.
type Kubernetes struct {
	Enabled bool `yaml:"enabled,omitempty"`
	// KubeletDir is kubelet's --root-dir on every node; DefaultKubeletDir if it
	// is empty. The driver makes its sockets there, and mounts nothing elsewhere.
	KubeletDir string `yaml:"kubeletDir,omitempty"`
	// MaxVolumes that one node may use at once; 0 is any number.
	MaxVolumes int `yaml:"maxVolumes,omitempty"`
	// Kubeconfig is where each metadata node has the address of the API server
	// and the credentials with which claims are provisioned. Empty: k3s's own on
	// a node with k3s, and elsewhere no claims are. What is in the file is looked at when it is used, so that one that is
	// missing or wrong keeps no node from starting.
	Kubeconfig string `yaml:"kubeconfig,omitempty"`
	// DeadNode is what becomes of the volumes and pods of a node that is dead.
	DeadNode DeadNode `yaml:"deadNode,omitempty"`
}

// DeadNode is off by default: then a node that stays dead keeps its volumes. See
// docs/kubernetes.
type DeadNode struct {
	// Release gives the volumes of a node that was not heard of for After to other
	// nodes. For that every node with the role client and a watchdog is reset when
	// it hears nothing of the quorum for After, less DeadWait.
	Release bool `yaml:"release,omitempty"`
	// After is DefaultDeadAfter if it is 0.
	After time.Duration `yaml:"after,omitempty"`
	// Taint puts Kubernetes's out-of-service taint on it as well, which ends its
	// pods.
	Taint bool `yaml:"taint,omitempty"`
}

// DeadWait is how much longer than a node waits before its reset the others wait
// before they call it dead: authority.Timing has the relations. MinDeadAfter,
// MaxDeadAfter and DefaultDeadAfter are what DeadNode.After can be and is.
const (
	DeadWait         = 20 * time.Second
	MinDeadAfter     = 40 * time.Second
	MaxDeadAfter     = time.Hour
	DefaultDeadAfter = time.Minute
)

// Guard is after how long without a word of the quorum a node is reset; 0 is
// never.
func (d DeadNode) Guard() time.Duration {
	switch {
	case !d.Release:
		return 0
	case d.After == 0:
		return DefaultDeadAfter - DeadWait
	}

	return d.After - DeadWait
}

// DefaultKubeletDir is kubelet's own default, and that of k3s.
const DefaultKubeletDir = "/var/lib/kubelet"

// Kubelet is kubelet's directory.
func (k Kubernetes) Kubelet() string {
	if k.KubeletDir == "" {
		return DefaultKubeletDir
	}

	return k.KubeletDir
}

// Node is what differs from node to node.
type Node struct {
	// Name is this node's name in Cluster.Nodes.
	Name string `yaml:"name"`
	// Replica is the metadata device of a metadata node.
	Replica Replica `yaml:"replica,omitempty"`
	// Chunks are where a chunkserver stores its chunks.
	Chunks []ChunkStore `yaml:"chunks,omitempty"`
	// Network configures the node's own network on the appliance image. On
	// other systems (Talos) it stays empty.
	Network Network `yaml:"network,omitempty"`
	// K3s is the Kubernetes of the appliance image.
	K3s K3s `yaml:"k3s,omitempty"`
	// Debug is for tests and for people at the console.
	Debug Debug `yaml:"debug,omitempty"`
}

// Replica is the block device that holds the metadata replica.
type Replica struct {
	// Device is a stable path of a whole disk or partition, at least
	// MinReplicaSize, that nothing else uses.
	Device string `yaml:"device,omitempty"`
}

// ChunkStore is one place for chunks: exactly one of the two is set.
type ChunkStore struct {
	// Path is an existing or creatable directory.
	Path string `yaml:"path,omitempty"`
	// Device is a blank disk or partition that antlerd formats once.
	Device string `yaml:"device,omitempty"`
}

// Network is the static configuration of one interface, or DHCP.
type Network struct {
	// MAC selects the interface; Interface does so by name. One of them.
	MAC       string `yaml:"mac,omitempty"`
	Interface string `yaml:"interface,omitempty"`
	DHCP      bool   `yaml:"dhcp,omitempty"`
	// Addresses with prefix length.
	Addresses []netip.Prefix `yaml:"addresses,omitempty"`
	Gateway   netip.Addr     `yaml:"gateway,omitempty"`
	DNS       []netip.Addr   `yaml:"dns,omitempty"`
	// NTP servers, by address or, with DNS, by name; those of DHCP come on top. With
	// none, Debian's pool is asked, which takes DNS.
	NTP []string `yaml:"ntp,omitempty"`
}

// Debug opens a node for looking inside.
type Debug struct {
	// ConsoleShell starts a root shell on the console.
	ConsoleShell bool `yaml:"consoleShell,omitempty"`
}

// PKI holds PEM blocks: the cluster's CA certificate, and this node's
// certificate and private key.
type PKI struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// MinReplicaSize is the smallest replica device in bytes. ext4 with a journal
// and a year of changelogs of a small cluster fit in 128 MiB.
const MinReplicaSize = 128 << 20

// Ports of the services on each node.
const (
	APIPort  = 9440
	RaftPort = 9441
	// MetricsPort is on the loopback address only.
	MetricsPort     = 9442
	ReplicationPort = 7789
	// MooseFS's own, from its manual pages.
	MasterMetaloggerPort  = 9419
	MasterChunkserverPort = 9420
	MasterClientPort      = 9421
	ChunkserverPort       = 9422
)

// Places on a node.
const (
	// StateDir survives reboots; RunDir does not.
	StateDir = "/var/lib/antler"
	RunDir   = "/run/antler"
	// MountPath is the node-wide client mount, AdminMountPath the one through
	// which the serving node manages volumes.
	MountPath      = StateDir + "/mnt"
	AdminMountPath = StateDir + "/admin"
	// VolumeMountDir holds the mounts of single volumes, each at the volume's id;
	// VolumeMountRecords what is wanted there until the next reboot.
	VolumeMountDir     = StateDir + "/mounts"
	VolumeMountRecords = RunDir + "/mounts"
	// MetadataPath is where the replica is mounted while this node serves, below
	// MetadataParent, through which mfsmaster's container sees it come and go.
	MetadataPath   = MetadataParent + "/replica"
	MetadataParent = StateDir + "/meta"
	// WatchdogDevice resets a node on which antlerd is gone.
	WatchdogDevice = "/dev/watchdog"
	// APISocket is root-only.
	APISocket = RunDir + "/antlerd.sock"
	// ContainerdSocket is the host's containerd.
	ContainerdSocket = "/run/containerd/containerd.sock"
)

// Has reports whether the member has the role.
func (m Member) Has(role Role) bool {
	for _, r := range m.Roles {
		if r == role {
			return true
		}
	}

	return false
}

// Voter reports whether the member votes: metadata nodes and witnesses do.
func (m Member) Voter() bool { return m.Has(RoleMetadata) || m.Has(RoleWitness) }

// Member returns the member called name.
func (c Cluster) Member(name string) (Member, bool) {
	for _, m := range c.Nodes {
		if m.Name == name {
			return m, true
		}
	}

	return Member{}, false
}

// With returns the members that have the role, in the order of the file.
func (c Cluster) With(role Role) []Member {
	var out []Member

	for _, m := range c.Nodes {
		if m.Has(role) {
			out = append(out, m)
		}
	}

	return out
}

// Voters returns the members that vote, in the order of the file.
func (c Cluster) Voters() []Member {
	var out []Member

	for _, m := range c.Nodes {
		if m.Voter() {
			out = append(out, m)
		}
	}

	return out
}

// Self returns this node's member entry.
func (c *Config) Self() Member {
	m, _ := c.Cluster.Member(c.Node.Name)

	return m
}

// Peer returns the other metadata node, or false where there is none.
func (c *Config) Peer() (Member, bool) {
	for _, m := range c.Cluster.With(RoleMetadata) {
		if m.Name != c.Node.Name {
			return m, true
		}
	}

	return Member{}, false
}
