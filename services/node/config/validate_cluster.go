package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// dnsLabel is what a name may be (RFC 1123): it becomes a host name and a name
// in certificates.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// secretWord is what a password may be: it goes into mfsexports.cfg, where a
// comma or a blank ends it.
var secretWord = regexp.MustCompile(`^[A-Za-z0-9._-]{12,64}$`)

const (
	nameHint = "use lower-case letters, digits and '-', at most 63"
	genHint  = "take the file that `antlerctl gen config` made"
)

func (c Cluster) validate(p *Problems) {
	if !dnsLabel.MatchString(c.Name) {
		p.add("cluster.name", fmt.Sprintf("%q is not a name", c.Name), nameHint)
	}

	if uuid.Validate(c.ID) != nil {
		p.add("cluster.id", fmt.Sprintf("%q is not a UUID", c.ID), genHint)
	}

	for _, secret := range []struct{ path, value string }{
		{"cluster.password", c.Password},
		{"cluster.adminPassword", c.AdminPassword},
		{"cluster.chunkserverSecret", c.ChunkserverSecret},
	} {
		if !secretWord.MatchString(secret.value) {
			p.add(secret.path, "is missing, or is not 12 to 64 letters, digits, '.', '_' and '-'", genHint)
		}
	}

	if c.Password != "" && c.Password == c.AdminPassword {
		p.add("cluster.adminPassword", "is the same as password, so every client could set quotas", genHint)
	}

	c.validateMembers(p)
	c.validateVoters(p)
	c.validateAddresses(p)
	c.validateStorage(p)
	c.validateBackup(p)
	c.validateKubernetes(p)
}

// maxSocketDir is how long kubelet's directory may be: the path of a unix socket
// has at most 107 bytes (unix(7)), and the longer of the driver's two adds 45.
const maxSocketDir = 62

func (c Cluster) validateKubernetes(p *Problems) {
	const path = "cluster.kubernetes"

	k := c.Kubernetes

	if !k.Enabled {
		if k != (Kubernetes{}) {
			p.add(path, "has settings and is not enabled", "write enabled: true, or remove them")
		}

		return
	}

	if len(c.With(RoleClient)) == 0 {
		p.add(path, "no node has the role client, so none could mount a volume for a pod", "give it to the nodes that run kubelet")
	}

	switch dir := k.Kubelet(); {
	case !isPath(dir):
		p.add(path+".kubeletDir", fmt.Sprintf("%q is not a clean absolute path", dir), "write kubelet's --root-dir, for example "+DefaultKubeletDir)
	case len(dir) > maxSocketDir:
		p.add(path+".kubeletDir", fmt.Sprintf("has %d bytes, which makes the path of a socket too long", len(dir)), fmt.Sprintf("use one of at most %d", maxSocketDir))
	case dir == StateDir || strings.HasPrefix(dir, StateDir+"/") || strings.HasPrefix(StateDir, dir+"/"):
		p.add(path+".kubeletDir", dir+" is antlerd's own, or holds it", "write kubelet's --root-dir, for example "+DefaultKubeletDir)
	}

	if k.MaxVolumes < 0 {
		p.add(path+".maxVolumes", fmt.Sprintf("%d is negative", k.MaxVolumes), "write 0 for any number")
	}

	if k.Kubeconfig != "" && !isPath(k.Kubeconfig) {
		p.add(path+".kubeconfig", fmt.Sprintf("%q is not a clean absolute path", k.Kubeconfig),
			"write where each metadata node has the file, for example /etc/rancher/k3s/k3s.yaml, or leave it out to provision no claims")
	}

	k.DeadNode.validate(p, path+".deadNode")
}

func (d DeadNode) validate(p *Problems, path string) {
	if !d.Release {
		if d != (DeadNode{}) {
			p.add(path, "has settings and releases nothing", "write release: true, or remove them")
		}

		return
	}

	if d.After != 0 && (d.After < MinDeadAfter || d.After > MaxDeadAfter) {
		p.add(path+".after", fmt.Sprintf("%s is not in %s..%s", d.After, MinDeadAfter, MaxDeadAfter),
			fmt.Sprintf("write for example %s, or leave it out for that: a node resets itself %s before", DefaultDeadAfter, DeadWait))
	}
}

func (c Cluster) validateMembers(p *Problems) {
	if len(c.Nodes) == 0 {
		p.add("cluster.nodes", "there are none", "name at least one")
	}

	seen := map[string]string{}

	for i, m := range c.Nodes {
		path := index("cluster.nodes", i)

		if !dnsLabel.MatchString(m.Name) {
			p.add(path+".name", fmt.Sprintf("%q is not a name", m.Name), nameHint)
		} else if first, taken := seen[m.Name]; taken {
			p.add(path+".name", fmt.Sprintf("%q is the name of %s already", m.Name, first), "give each node its own")
		} else {
			seen[m.Name] = path
		}

		m.validateRoles(p, path+".roles")
	}
}

// Roles are all roles there are.
func Roles() []Role {
	return []Role{RoleMetadata, RoleWitness, RoleChunkserver, RoleMetalogger, RoleClient}
}

func (m Member) validateRoles(p *Problems, path string) {
	if len(m.Roles) == 0 {
		p.add(path, m.Name+" has none", fmt.Sprintf("give it some of %v", Roles()))
	}

	for i, role := range m.Roles {
		if !slices.Contains(Roles(), role) {
			p.add(index(path, i), fmt.Sprintf("unknown role %q", role), fmt.Sprintf("use some of %v", Roles()))
		} else if slices.Index(m.Roles, role) < i {
			p.add(index(path, i), fmt.Sprintf("%s is there twice", role), "remove one")
		}
	}

	if m.Has(RoleMetadata) && m.Has(RoleWitness) {
		p.add(path, m.Name+" is both metadata and witness", "a metadata node votes anyway: remove witness")
	}
}

// validateVoters sees to it that there is a majority to be had, and someone to
// take over.
func (c Cluster) validateVoters(p *Problems) {
	const path = "cluster.nodes"

	metadata, voters := c.With(RoleMetadata), c.Voters()

	switch {
	case len(metadata) == 0:
		p.add(path, "no node has the role metadata, so none could run the master", "give it to two nodes, and witness to a third")
	case len(metadata) == 1 && len(c.Nodes) > 1:
		p.add(path, fmt.Sprintf("only %s has the role metadata, so nobody could take over from it", names(metadata)),
			"give it to a second node, and witness to a third")
	case len(metadata) > 2:
		p.add(path, fmt.Sprintf("%d nodes have the role metadata (%s), but DRBD 8.4 replicates to one peer only", len(metadata), names(metadata)),
			"keep it on two, and make the others witness or chunkserver")
	}

	if len(voters) > 0 && len(voters)%2 == 0 {
		p.add(path, fmt.Sprintf("%d voters (%s) are an even number: when they split in half neither half may go on", len(voters), names(voters)),
			"add the role witness to one more node, or take it from one (metadata nodes and witnesses vote)")
	}
}

func (c Cluster) validateStorage(p *Problems) {
	chunkservers := len(c.With(RoleChunkserver))

	switch copies := c.Storage.Copies; {
	case copies < 1 || copies > 9:
		p.add("cluster.storage.copies", fmt.Sprintf("%d is not in 1..9", copies), "write 2 unless you know better")
	case copies > chunkservers:
		p.add("cluster.storage.copies", fmt.Sprintf("%d copies need as many chunkservers, there are %d", copies, chunkservers),
			"add the role chunkserver to more nodes, or store fewer copies")
	}

	if c.Storage.TrashTime < 0 {
		p.add("cluster.storage.trashTime", fmt.Sprintf("%d is negative", c.Storage.TrashTime), "write seconds, 0 for no trash")
	}

	switch c.Storage.Durability {
	case DurabilitySafe, DurabilityLoseSecondsOnPowerCut:
	default:
		p.add("cluster.storage.durability", fmt.Sprintf("unknown durability %q", c.Storage.Durability),
			fmt.Sprintf("use %s or %s", DurabilitySafe, DurabilityLoseSecondsOnPowerCut))
	}
}
