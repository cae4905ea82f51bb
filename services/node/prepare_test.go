package node_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node"
	"antler/services/node/config"
)

func TestPrepareWritesWhatTheConfigurationSays(t *testing.T) {
	root := t.TempDir()
	cfg := &config.Config{Node: config.Node{
		Name: "n1",
		Network: config.Network{
			MAC:       "52:54:00:00:00:11",
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.11/24")},
			Gateway:   netip.MustParseAddr("10.77.0.1"),
			DNS:       []netip.Addr{netip.MustParseAddr("10.77.0.1")},
			NTP:       []string{"10.77.0.1", "time.example.org"},
		},
		Debug: config.Debug{ConsoleShell: true},
	}}

	require.NoError(t, node.Prepare(cfg, root))

	require.Equal(t, "n1", read(t, root, "proc/sys/kernel/hostname"))
	require.Equal(t, `[Match]
PermanentMACAddress=52:54:00:00:00:11

[Network]
KeepConfiguration=yes
IPv6AcceptRA=no
LinkLocalAddressing=ipv6
Address=10.77.0.11/24
NTP=10.77.0.1
NTP=time.example.org
Gateway=10.77.0.1
`, read(t, root, "run/systemd/network/10-antler.network"))
	require.Equal(t, "nameserver 10.77.0.1\n", read(t, root, "run/antler/resolv.conf"))
	require.FileExists(t, filepath.Join(root, "run/antler/console-shell"))
}

func TestPrepareLeavesNetworkAndConsoleAlone(t *testing.T) {
	root := t.TempDir()

	require.NoError(t, node.Prepare(&config.Config{Node: config.Node{Name: "n1"}}, root))

	require.NoFileExists(t, filepath.Join(root, "run/systemd/network/10-antler.network"))
	require.NoFileExists(t, filepath.Join(root, "run/antler/console-shell"))
}

func read(t *testing.T, root, name string) string {
	t.Helper()

	content, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)

	return string(content)
}
