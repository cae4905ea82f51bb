package authority

import (
	"net"
	"strconv"

	"antler/services/node/config"
)

// MembersOf are the members of the configured cluster, in the order of the file.
func MembersOf(c config.Cluster) []Member {
	at := func(m config.Member, port int) string {
		return net.JoinHostPort(m.Address.String(), strconv.Itoa(port))
	}

	members := make([]Member, 0, len(c.Nodes))

	for _, m := range c.Nodes {
		member := Member{
			Name: m.Name, Address: at(m, config.APIPort), RaftAddress: at(m, config.RaftPort),
			Voter: m.Voter(), Replica: m.Has(config.RoleMetadata),
		}

		for _, role := range m.Roles {
			member.Roles = append(member.Roles, string(role))
		}

		members = append(members, member)
	}

	return members
}
