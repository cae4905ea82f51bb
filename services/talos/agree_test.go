package talos_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"antler/services/authority"
	"antler/services/node/config"
	"antler/services/talos"
)

func nodeConfig(name string) *config.Config {
	return &config.Config{
		Node: config.Node{Name: name},
		Cluster: config.Cluster{Nodes: []config.Member{
			{Name: "n1", Address: netip.MustParseAddr("192.168.1.11")}, {Name: "n2", Address: netip.MustParseAddr("192.168.1.12")},
		}},
	}
}

// check has patience enough for two looks.
func check(t *testing.T, machine talos.Machine) (talos.Check, *observer.ObservedLogs) {
	t.Helper()

	core, logs := observer.New(zap.WarnLevel)

	return talos.Check{
		Machine: machine, Path: filepath.Join(t.TempDir(), "devices.yaml"), Logger: zap.New(core),
		Patience: 10 * time.Millisecond, Interval: time.Millisecond, LookTime: time.Minute,
	}, logs
}

func TestAnotherNodesConfigurationIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		host, domain, address, node string
		says                        []string
	}{
		"its own":                  {"n2", "", "192.168.1.12/24", "n2", nil},
		"its own, with a domain":   {"n2", "example.org", "192.168.1.12/24", "n2", nil},
		"its own, in upper case":   {"N2", "", "192.168.1.12/24", "n2", nil},
		"another name":             {"n1", "", "192.168.1.12/24", "n2", []string{"node.name: n2 is not the host name that Talos has, n1"}},
		"a name that begins alike": {"n22", "", "192.168.1.12/24", "n2", []string{"node.name: n2 is not the host name that Talos has, n22"}},
		"another address": {"n2", "", "192.168.1.99/24", "n2", []string{
			"cluster.nodes[1].address: 192.168.1.12 is not among the addresses that Talos has, [10.0.0.1 192.168.1.99]",
		}},
		"both": {"n1", "", "192.168.1.11/24", "n2", []string{"node.name: n2 is not", "cluster.nodes[1].address: 192.168.1.12 is not"}},
	} {
		t.Run(name, func(t *testing.T) {
			machine, resources := machined(t)
			create(t, resources, hostname(c.host, c.domain), addresses("10.0.0.1/8", c.address))

			against, _ := check(t, machine)
			err := against.Run(t.Context(), nodeConfig(c.node))

			if c.says == nil {
				require.NoError(t, err)
				require.FileExists(t, against.Path)

				return
			}

			var problems config.Problems

			require.ErrorAs(t, err, &problems)
			require.Len(t, problems, len(c.says))
			require.NoFileExists(t, against.Path)

			for _, want := range c.says {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestANodeIsGivenTimeToGetItsName(t *testing.T) {
	name := hostname("talos-abc-def", "")

	var (
		machine   talos.Machine
		resources state.State
	)

	machine, resources = machined(t, func(ctx context.Context, access state.Access) error {
		// That is read last, so this is after the first look at the name.
		if access.ResourceType == block.SystemDiskType && name.TypedSpec().Hostname != "n1" {
			name.TypedSpec().Hostname = "n1"

			return resources.Update(ctx, name)
		}

		return nil
	})
	create(t, resources, name, addresses("192.168.1.11/24"), systemDisk("/dev/vda"))

	against, _ := check(t, machine)
	against.Patience = time.Minute
	require.NoError(t, against.Run(t.Context(), nodeConfig("n1")))

	taken, err := talos.ReadTaken(against.Path)
	require.NoError(t, err)
	require.Equal(t, talos.Taken{"/dev/vda": "is Talos's system disk"}, taken)
}

func TestWhatTalosDoesNotSayKeepsNoNodeFromStarting(t *testing.T) {
	machine, resources := machined(t)
	create(t, resources, systemDisk("/dev/vda"))

	unnamed, logs := check(t, machine)
	require.NoError(t, unnamed.Run(t.Context(), nodeConfig("n1")))
	require.Equal(t, 1, logs.FilterMessageSnippet("no name or no address yet").Len())
	require.FileExists(t, unnamed.Path, "what is known of its disks counts")

	gone, logs := check(t, talos.Machine{Socket: filepath.Join(t.TempDir(), "gone.sock")})
	gone.Patience = time.Minute
	require.NoError(t, gone.Run(t.Context(), nodeConfig("n1")))
	require.Equal(t, 1, logs.FilterMessageSnippet("are not compared with the configuration").Len())

	taken, err := talos.ReadTaken(gone.Path)
	require.NoError(t, err)
	require.Empty(t, taken)
}

// TestAMachinedThatHangs takes calls and answers none.
func TestAMachinedThatHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "machine.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)

	defer listener.Close()

	hanging, logs := check(t, talos.Machine{Socket: socket})
	hanging.Patience, hanging.LookTime = time.Minute, time.Millisecond
	require.NoError(t, hanging.Run(t.Context(), nodeConfig("n1")))
	require.Equal(t, 1, logs.Len())
}

// TestTheLookLeavesTimeForTheWatchdog: a serving node to which antlerd doesn't come
// back in time is reset, also where machined hangs.
func TestTheLookLeavesTimeForTheWatchdog(t *testing.T) {
	require.Less(t, 3*talos.LookTime, authority.DefaultTiming().WatchdogTimeout)
}

func TestADamagedListOfDevicesIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.yaml")
	require.NoError(t, os.WriteFile(path, []byte("- half"), 0o600))

	_, err := talos.ReadTaken(path)
	require.ErrorContains(t, err, "remove "+path)
}
