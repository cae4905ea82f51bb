package authority_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
	"antler/services/node/config"
)

func TestMembersOf(t *testing.T) {
	members := authority.MembersOf(config.Cluster{Nodes: []config.Member{
		{Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), Roles: []config.Role{config.RoleMetadata, config.RoleChunkserver}},
		{Name: "n2", Address: netip.MustParseAddr("fd00::2"), Roles: []config.Role{config.RoleWitness}},
		{Name: "n3", Address: netip.MustParseAddr("10.0.0.3"), Roles: []config.Role{config.RoleClient}},
	}})

	require.Equal(t, []authority.Member{
		{Name: "n1", Address: "10.0.0.1:9440", RaftAddress: "10.0.0.1:9441", Voter: true, Replica: true, Roles: []string{"metadata", "chunkserver"}},
		{Name: "n2", Address: "[fd00::2]:9440", RaftAddress: "[fd00::2]:9441", Voter: true, Roles: []string{"witness"}},
		{Name: "n3", Address: "10.0.0.3:9440", RaftAddress: "10.0.0.3:9441", Roles: []string{"client"}},
	}, members)
}
