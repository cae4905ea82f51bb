package metadata

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/containers"
	"antler/services/node/config"
)

func cluster() config.Cluster {
	return config.Cluster{
		Nodes: []config.Member{
			{Name: "n1", Address: netip.MustParseAddr("10.0.0.1")}, {Name: "n2", Address: netip.MustParseAddr("10.0.0.2")},
		},
		Floating: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24"), netip.MustParsePrefix("fd00::9/64")},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")},
		Password: "everybody", AdminPassword: "antlerd", ChunkserverSecret: "between-servers",
		Storage: config.Storage{Durability: config.DurabilitySafe},
	}
}

func TestOnlyAntlerdMountsWithTheAdminFlag(t *testing.T) {
	for line := range strings.Lines(Exports(cluster())) {
		admin := strings.Contains(line, "admin,")

		require.Equal(t, admin, strings.Contains(line, "password=antlerd"), line)
		require.Equal(t, !admin, strings.Contains(line, "password=everybody"), line)
		require.Falsef(t, admin && strings.HasPrefix(line, "10.0.0.0/24 "), "the whole network may: %s", line)
		require.NotContains(t, line, "fd00", "MooseFS speaks IPv4 only")
	}
}

// A session is resumed after a failover only if the exports are the same.
func TestExportsAreTheSameOnEveryNode(t *testing.T) {
	n1 := &config.Config{Cluster: cluster(), Node: config.Node{Name: "n1"}}
	n2 := &config.Config{Cluster: cluster(), Node: config.Node{Name: "n2"}}

	require.Equal(t, masterSpec(n1, 1).Files["mfs/mfsexports.cfg"], masterSpec(n2, 5).Files["mfs/mfsexports.cfg"])
}

func TestSaveModeFollowsDurability(t *testing.T) {
	safe := cluster()
	require.Contains(t, masterSettings(safe), "CHANGELOG_SAVE_MODE = 2\n")

	lossy := cluster()
	lossy.Storage.Durability = config.DurabilityLoseSecondsOnPowerCut
	require.Contains(t, masterSettings(lossy), "CHANGELOG_SAVE_MODE = 0\n")
}

func TestMasterWritesNowhereButItsDataPath(t *testing.T) {
	spec := masterSpec(&config.Config{Cluster: cluster()}, 1)

	// Below it, mfs owns nothing but the data path.
	require.Equal(t, []containers.Mount{{Source: config.MetadataParent, Destination: config.MetadataParent, Slave: true}}, spec.Mounts)
	require.True(t, strings.HasPrefix(DataPath, config.MetadataPath+"/"))
	require.NotContains(t, strings.Join(spec.Args, " "), "antlerd")
}
