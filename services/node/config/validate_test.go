package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

const clusterFile = `
name: home
floating: [10.5.0.250/24]
nodes:
- {name: n1, address: 10.5.0.1, roles: [metadata, chunkserver, client], replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n2, address: 10.5.0.2, roles: [metadata, chunkserver, client], replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n3, address: 10.5.0.3, roles: [witness, chunkserver, metalogger, client], chunks: [{path: /var/lib/antler/chunks}]}
`

func now() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func generated(t *testing.T) *gen.Files {
	t.Helper()

	file, err := gen.ParseClusterFile([]byte(clusterFile))
	require.NoError(t, err)

	secrets, err := gen.NewSecrets(file.Name, now())
	require.NoError(t, err)

	files, err := gen.Generate(file, secrets, now())
	require.NoError(t, err)

	return files
}

// node returns the configuration of n1, fresh: tests may change it.
func node(t *testing.T) *config.Config { return generated(t).Nodes[0] }

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(texts))

	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}

	return out
}

func TestRefusesBadConfigurations(t *testing.T) {
	for _, tc := range []struct {
		name   string
		breaks func(*config.Config)
		want   []string
	}{
		{"version", func(c *config.Config) { c.Version = 2 }, []string{
			"version: 2 is not a version of the format: write 1",
		}},
		{"cluster name", func(c *config.Config) { c.Cluster.Name = "My Home" }, []string{
			`cluster.name: "My Home" is not a name: use lower-case letters, digits and '-', at most 63`,
		}},
		{"cluster id", func(c *config.Config) { c.Cluster.ID = "17" }, []string{
			"cluster.id: \"17\" is not a UUID: take the file that `antlerctl gen config` made",
		}},
		{"kubernetes without being on", func(c *config.Config) { c.Cluster.Kubernetes.MaxVolumes = 3 }, []string{
			"cluster.kubernetes: has settings and is not enabled: write enabled: true, or remove them",
		}},
		{"kubernetes", func(c *config.Config) {
			c.Cluster.Kubernetes = config.Kubernetes{Enabled: true, KubeletDir: "/var/lib/../kubelet", MaxVolumes: -1, Kubeconfig: "admin.conf"}
		}, []string{
			`cluster.kubernetes.kubeletDir: "/var/lib/../kubelet" is not a clean absolute path: write kubelet's --root-dir, for example /var/lib/kubelet`,
			"cluster.kubernetes.maxVolumes: -1 is negative: write 0 for any number",
			`cluster.kubernetes.kubeconfig: "admin.conf" is not a clean absolute path: write where each metadata node has the file, ` +
				"for example /etc/rancher/k3s/k3s.yaml, or leave it out to provision no claims",
		}},
		{"kubelet in antlerd's own directory", func(c *config.Config) {
			c.Cluster.Kubernetes = config.Kubernetes{Enabled: true, KubeletDir: "/var/lib/antler/mnt"}
		}, []string{
			"cluster.kubernetes.kubeletDir: /var/lib/antler/mnt is antlerd's own, or holds it: write kubelet's --root-dir, for example /var/lib/kubelet",
		}},
		{"kubelet's directory too long for a socket", func(c *config.Config) {
			c.Cluster.Kubernetes = config.Kubernetes{Enabled: true, KubeletDir: "/" + strings.Repeat("k", 62)}
		}, []string{
			"cluster.kubernetes.kubeletDir: has 63 bytes, which makes the path of a socket too long: use one of at most 62",
		}},
		{"a dead node that is called so too early", func(c *config.Config) {
			c.Cluster.Kubernetes = config.Kubernetes{Enabled: true, DeadNode: config.DeadNode{Release: true, After: 39 * time.Second}}
		}, []string{
			"cluster.kubernetes.deadNode.after: 39s is not in 40s..1h0m0s: write for example 1m0s, or leave it out for that: a node resets itself 20s before",
		}},
		{"a dead node that keeps what it has", func(c *config.Config) {
			c.Cluster.Kubernetes = config.Kubernetes{Enabled: true, DeadNode: config.DeadNode{Taint: true}}
		}, []string{
			"cluster.kubernetes.deadNode: has settings and releases nothing: write release: true, or remove them",
		}},
		{"kubernetes without clients", func(c *config.Config) {
			c.Cluster.Kubernetes.Enabled = true
			for i := range c.Cluster.Nodes {
				c.Cluster.Nodes[i].Roles = slices.DeleteFunc(c.Cluster.Nodes[i].Roles, func(r config.Role) bool { return r == config.RoleClient })
			}
		}, []string{
			"cluster.kubernetes: no node has the role client, so none could mount a volume for a pod: give it to the nodes that run kubelet",
		}},
		{"a backup without its times", func(c *config.Config) { c.Cluster.Metadata.Backup.Directory = "/srv/backup" }, []string{
			"cluster.metadata.backup.every: 0s is less than 1m0s: write for example 1h; without backup there is none",
			"cluster.metadata.backup.keep: 0 is not in 1..10000: write how many backups are to stay, for example 24",
		}},
		{"a backup that would be lost with what it is of", func(c *config.Config) {
			c.Cluster.Metadata.Backup = config.Backup{Directory: "/var/lib/antler/mnt/backup", Every: time.Hour, Keep: 24}
		}, []string{
			"cluster.metadata.backup.directory: /var/lib/antler/mnt/backup is on the MooseFS that it is to bring back: " +
				"write a directory on another disk, for example /var/lib/antler/backups",
		}},
		{"a backup nowhere", func(c *config.Config) {
			c.Cluster.Metadata.Backup = config.Backup{Directory: "../backup", Every: time.Hour, Keep: 24}
		}, []string{
			`cluster.metadata.backup.directory: "../backup" is not a clean absolute path: write for example /var/lib/antler/backups`,
		}},
		{"even voters", func(c *config.Config) {
			c.Cluster.Nodes[2].Roles = []config.Role{config.RoleChunkserver}
		}, []string{
			"cluster.nodes: 2 voters (n1, n2) are an even number: when they split in half neither half may go on: " +
				"add the role witness to one more node, or take it from one (metadata nodes and witnesses vote)",
		}},
		{"duplicate name", func(c *config.Config) { c.Cluster.Nodes[2].Name = "n2" }, []string{
			`cluster.nodes[2].name: "n2" is the name of cluster.nodes[1] already: give each node its own`,
		}},
		{"duplicate address", func(c *config.Config) { c.Cluster.Nodes[2].Address = c.Cluster.Nodes[1].Address }, []string{
			"cluster.nodes[2].address: 10.5.0.2 is the address of cluster.nodes[1] already: give each node its own",
		}},
		{"unreachable address", func(c *config.Config) { c.Cluster.Nodes[2].Address = netip.MustParseAddr("127.0.0.1") }, []string{
			"cluster.nodes[2].address: 127.0.0.1 is not an address that other nodes can reach: write the node's IPv4 or IPv6 address",
		}},
		{"unknown role", func(c *config.Config) { c.Cluster.Nodes[2].Roles[3] = "cleint" }, []string{
			`cluster.nodes[2].roles[3]: unknown role "cleint": use some of [metadata witness chunkserver metalogger client]`,
		}},
		{"no roles", func(c *config.Config) {
			c.Cluster.Nodes = append(c.Cluster.Nodes, config.Member{Name: "n4", Address: netip.MustParseAddr("10.5.0.4")})
		}, []string{
			"cluster.nodes[3].roles: n4 has none: give it some of [metadata witness chunkserver metalogger client]",
		}},
		{"metadata and witness", func(c *config.Config) {
			c.Cluster.Nodes[1].Roles = append(c.Cluster.Nodes[1].Roles, config.RoleWitness)
		}, []string{
			"cluster.nodes[1].roles: n2 is both metadata and witness: a metadata node votes anyway: remove witness",
		}},
		{"one replica of three nodes", func(c *config.Config) {
			c.Cluster.Nodes[1].Roles[0] = config.RoleWitness
		}, []string{
			"cluster.nodes: only n1 has the role metadata, so nobody could take over from it: give it to a second node, and witness to a third",
		}},
		{"three replicas", func(c *config.Config) {
			c.Cluster.Nodes[2].Roles[0] = config.RoleMetadata
		}, []string{
			"cluster.nodes: 3 nodes have the role metadata (n1, n2, n3), but DRBD 8.4 replicates to one peer only: " +
				"keep it on two, and make the others witness or chunkserver",
		}},
		{"floating is a node's", func(c *config.Config) { c.Cluster.Floating = prefixes("10.5.0.2/24") }, []string{
			"cluster.floating[0]: 10.5.0.2 is the address of cluster.nodes[1]: it moves between nodes: write an address that nobody has",
		}},
		{"floating outside", func(c *config.Config) { c.Cluster.Floating = prefixes("192.168.7.250/24") }, []string{
			"cluster.floating[0]: 192.168.7.250/24 is outside the network of n1 (10.5.0.1): " +
				"write a free address of the metadata nodes' network, with that network's prefix length",
		}},
		{"two floating of one family", func(c *config.Config) {
			c.Cluster.Floating = prefixes("10.5.0.250/24", "fd00::250/64", "10.5.0.251/24")
		}, []string{
			"cluster.floating[2]: 10.5.0.251/24 is of the same family as 10.5.0.250/24: write at most one IPv4 and one IPv6 address",
		}},
		{"IPv6 floating outside the static network", func(c *config.Config) {
			c.Cluster.Floating = prefixes("fd00::250/64")
			c.Node.Network = config.Network{Interface: "eth0", Addresses: prefixes("10.5.0.1/24", "fd01::1/64")}
		}, []string{
			"cluster.floating[0]: fd00::250/64 is outside every network of n1: write a free address of a network that both metadata nodes are in",
		}},
		{"no floating", func(c *config.Config) { c.Cluster.Floating = nil }, []string{
			"cluster.floating: there is none, so clients could not find the master after it moved: " +
				"write a free address of your network with its prefix length, such as 192.168.1.250/24",
		}},
		{"network with host bits", func(c *config.Config) { c.Cluster.Networks = prefixes("10.5.0.1/24") }, []string{
			"cluster.networks[0]: 10.5.0.1/24 is an address in a network: write 10.5.0.0/24",
		}},
		{"node cannot mount", func(c *config.Config) { c.Cluster.Networks = prefixes("10.5.0.0/31", "10.5.0.2/32") }, []string{
			"cluster.nodes[2].address: 10.5.0.3 is in none of cluster.networks, so n3 could not mount: add its network there",
		}},
		{"too many copies", func(c *config.Config) { c.Cluster.Storage.Copies = 4 }, []string{
			"cluster.storage.copies: 4 copies need as many chunkservers, there are 3: add the role chunkserver to more nodes, or store fewer copies",
		}},
		{"copies out of range", func(c *config.Config) { c.Cluster.Storage.Copies = 10 }, []string{
			"cluster.storage.copies: 10 is not in 1..9: write 2 unless you know better",
		}},
		{"durability", func(c *config.Config) { c.Cluster.Storage.Durability = "fast" }, []string{
			`cluster.storage.durability: unknown durability "fast": use safe or lose-seconds-on-power-cut`,
		}},
		{"password", func(c *config.Config) { c.Cluster.Password = "a,b" }, []string{
			"cluster.password: is missing, or is not 12 to 64 letters, digits, '.', '_' and '-': take the file that `antlerctl gen config` made",
		}},
		{"unknown self", func(c *config.Config) { c.Node.Name = "n9" }, []string{
			"node.name: \"n9\" is not among the nodes of the cluster (n1, n2, n3): take the file that `antlerctl gen config` made",
			`pki.cert: belongs to "n1", and this is "n9": take this node's own file`,
		}},
		{"replica missing", func(c *config.Config) { c.Node.Replica.Device = "" }, []string{
			"node.replica.device: n1 has the role metadata and no device for its replica: name a disk or partition of at least 128 MiB that nothing else uses",
		}},
		{"replica relative", func(c *config.Config) { c.Node.Replica.Device = "vdb" }, []string{
			`node.replica.device: "vdb" is not the path of a device: write one that stays the same, such as /dev/disk/by-id/... or /dev/vdb`,
		}},
		{"replica escapes", func(c *config.Config) { c.Node.Replica.Device = "/dev/../etc/passwd" }, []string{
			`node.replica.device: "/dev/../etc/passwd" is not the path of a device: write one that stays the same, such as /dev/disk/by-id/... or /dev/vdb`,
		}},
		{"replica and chunks on one device", func(c *config.Config) { c.Node.Chunks[0].Device = "/dev/vdb" }, []string{
			"node.chunks[0]: /dev/vdb is node.replica.device already: use each place once",
		}},
		{"chunk store with both", func(c *config.Config) { c.Node.Chunks[0].Path = "/srv" }, []string{
			"node.chunks[0]: needs exactly one of device and path: write one",
		}},
		{"chunk store with none", func(c *config.Config) { c.Node.Chunks[0].Device = "" }, []string{
			"node.chunks[0]: needs exactly one of device and path: write one",
		}},
		{"no chunk store", func(c *config.Config) { c.Node.Chunks = nil }, []string{
			"node.chunks: n1 has the role chunkserver and no place for chunks: name a device or a path",
		}},
		{"network without own address", func(c *config.Config) {
			c.Node.Network = config.Network{MAC: "52:54:00:00:00:01", Addresses: prefixes("10.5.0.9/24")}
		}, []string{
			"node.network.addresses: the address by which the others know n1, 10.5.0.1, is not among them: add it",
		}},
		{"network", func(c *config.Config) {
			c.Node.Network = config.Network{MAC: "x", Interface: "eth0", Addresses: prefixes("10.5.0.1/24"), Gateway: netip.MustParseAddr("10.6.0.1")}
		}, []string{
			"node.network: names its interface twice, by mac and by interface: keep one",
			`node.network.mac: "x" is not a MAC address: write for example 52:54:00:12:34:56`,
			"node.network.gateway: 10.6.0.1 is in the network of none of the addresses: correct it, or the address's prefix length",
		}},
		{"time servers", func(c *config.Config) {
			c.Node.Network = config.Network{Interface: "eth0", Addresses: prefixes("10.5.0.1/24"), NTP: []string{"10.5.0.254", "a b", ""}}
		}, []string{
			`node.network.ntp[1]: "a b" is not the address or name of a server: write for example 192.168.1.1`,
			`node.network.ntp[2]: "" is not the address or name of a server: write for example 192.168.1.1`,
		}},
		{"no keys", func(c *config.Config) { c.PKI = config.PKI{} }, []string{
			"pki.ca: is missing or is not PEM: take the file that `antlerctl gen config` made",
			"pki.cert: is missing or is not PEM: take the file that `antlerctl gen config` made",
		}},
		{"truncated certificate", func(c *config.Config) { c.PKI.Cert = c.PKI.Cert[:200] }, []string{
			"pki.cert: is missing or is not PEM: take the file that `antlerctl gen config` made",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := node(t)
			require.NoError(t, cfg.Validate(now()))
			tc.breaks(cfg)
			require.Equal(t, tc.want, problems(t, cfg.Validate(now())))
		})
	}
}

func problems(t *testing.T, err error) []string {
	t.Helper()

	var all config.Problems

	require.ErrorAs(t, err, &all)

	out := make([]string, 0, len(all))

	for _, problem := range all {
		out = append(out, problem.String())
	}

	return out
}

func TestRefusesBadCertificates(t *testing.T) {
	files := generated(t)
	other := generated(t)

	const again = ": run `antlerctl gen config` again with the cluster's ca.yaml and give the node its new file"

	for _, tc := range []struct {
		name   string
		breaks func(*config.PKI)
		at     time.Time
		want   []string
	}{
		{"of another cluster", func(p *config.PKI) { p.CA = other.Nodes[0].PKI.CA }, now(), []string{
			`pki.cert: is foreign: "antler home" did not sign it, "antler home" did` + again,
		}},
		{"of another node", func(p *config.PKI) { *p = files.Nodes[1].PKI }, now(), []string{
			`pki.cert: belongs to "n2", and this is "n1": take this node's own file`,
		}},
		{"with another key", func(p *config.PKI) { p.Key = other.Nodes[0].PKI.Key }, now(), []string{
			"pki.key: is not the key of the certificate of \"n1\": take the file that `antlerctl gen config` made",
		}},
		{"without a key", func(p *config.PKI) { p.Key = "" }, now(), []string{
			"pki.key: is missing or is not PEM: take the file that `antlerctl gen config` made",
		}},
		{"expired", func(*config.PKI) {}, now().AddDate(6, 0, 0), []string{
			"pki.cert: expired on 2031-02-28" + again,
		}},
		{"not yet valid", func(*config.PKI) {}, time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), []string{
			"pki.cert: is not valid before 2025-01-01, and it is 1970-01-01 here: set the clock",
			"pki.ca: is not valid before 2025-01-01, and it is 1970-01-01 here: set the clock",
		}},
		{"of a person", func(p *config.PKI) { p.Cert, p.Key = files.Admin.Cert, files.Admin.Key }, now(), []string{
			`pki.cert: belongs to "admin", and this is "n1": take this node's own file`,
		}},
		{"a node's as the CA", func(p *config.PKI) { p.CA = p.Cert }, now(), []string{
			"pki.ca: the certificate of \"n1\" is not one of a CA: take the file that `antlerctl gen config` made",
			`pki.cert: is foreign: "n1" did not sign it, "antler home" did` + again,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := *files.Nodes[0]
			tc.breaks(&cfg.PKI)
			require.Equal(t, tc.want, problems(t, cfg.Validate(tc.at)))
		})
	}
}

func TestReportsEverythingAtOnce(t *testing.T) {
	cfg := node(t)
	cfg.Version = 0
	cfg.Cluster.Storage.Copies = 0
	cfg.Node.Replica.Device = ""

	err := cfg.Validate(now())
	require.Len(t, problems(t, err), 3)
	require.True(t, strings.HasPrefix(err.Error(), "refused for 3 reasons:\n  version: "), err)
}

func TestProblemsNeverQuoteSecrets(t *testing.T) {
	cfg := node(t)
	cfg.Cluster.Password = "very, secret"
	cfg.PKI.Key = cfg.PKI.Key[:100]

	text := cfg.Validate(now()).Error()
	require.NotContains(t, text, "secret,")
	require.NotContains(t, text, "very")
	require.NotContains(t, text, cfg.PKI.Key[40:90])
}

func TestSurvivesItsOwnFile(t *testing.T) {
	cfg := node(t)
	cfg.Node.Network = config.Network{
		Interface: "eth0",
		Addresses: prefixes("10.5.0.1/24"),
		Gateway:   netip.MustParseAddr("10.5.0.254"),
		DNS:       []netip.Addr{netip.MustParseAddr("fd00::53")},
		NTP:       []string{"fd00::123"},
	}

	raw, err := yaml.Marshal(cfg)
	require.NoError(t, err)

	loaded, err := config.Load(raw)
	require.NoError(t, err)
	require.Equal(t, cfg, loaded)
}
