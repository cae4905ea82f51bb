package gen_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	talos "github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/stretchr/testify/require"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

// metal is the kind of machine that Talos validates for.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

// talosConfig is a machine configuration as Talos makes it.
func talosConfig(t *testing.T) []byte {
	t.Helper()

	input, err := talos.NewInput("home", "https://10.5.0.1:6443", "1.35.0", talos.WithInstallDisk("/dev/vda"))
	require.NoError(t, err)

	made, err := input.Config(machine.TypeControlPlane)
	require.NoError(t, err)

	raw, err := made.Bytes()
	require.NoError(t, err)

	return raw
}

// applied loads a patch as talosctl does, applies it to a machine configuration,
// and has Talos validate the result.
func applied(t *testing.T, to, patch []byte) []byte {
	t.Helper()

	loaded, err := configpatcher.LoadPatch(patch)
	require.NoError(t, err)

	out, err := configpatcher.Apply(configpatcher.WithBytes(to), []configpatcher.Patch{loaded})
	require.NoError(t, err)

	raw, err := out.Bytes()
	require.NoError(t, err)

	provider, err := configloader.NewFromBytes(raw)
	require.NoError(t, err)

	warnings, err := provider.Validate(metal{})
	require.NoError(t, err)
	require.Empty(t, warnings)

	return raw
}

func TestTalosTakesThePatches(t *testing.T) {
	dir := t.TempDir()
	files := write(t, dir, small)

	written, err := files.WriteTalos(dir, gen.TalosDRBD9)
	require.NoError(t, err)
	require.Len(t, written, 6)

	base := talosConfig(t)

	for _, node := range files.Nodes {
		machine := read(t, filepath.Join(dir, node.Node.Name+".talos-machine.yaml"))
		service := read(t, filepath.Join(dir, node.Node.Name+".talos-service.yaml"))

		once := applied(t, applied(t, base, machine), service)
		require.True(t, bytes.Equal(once, applied(t, once, service)), "once more changes nothing")

		provider, err := configloader.NewFromBytes(once)
		require.NoError(t, err)
		require.Equal(t, "1", provider.Machine().Sysctls()["vm.overcommit_memory"])
		require.Equal(t, "1", provider.Machine().Sysctls()["net.ipv4.tcp_thin_linear_timeouts"])
		require.Equal(t, "20", provider.Machine().Sysctls()["net.ipv4.tcp_syn_linear_timeouts"])

		services := provider.ExtensionServiceConfigs()
		require.Len(t, services, 1)
		require.Equal(t, "antler", services[0].Name())
		require.Len(t, services[0].ConfigFiles(), 1)

		inside := services[0].ConfigFiles()[0]
		require.Equal(t, config.DefaultPath, inside.MountPath())

		cfg, err := config.Load([]byte(inside.Content()))
		require.NoError(t, err)
		require.NoError(t, cfg.Validate(now()))
		require.Equal(t, node.Node.Name, cfg.Node.Name)
	}
}

// TestARenewedServicePatchReplacesTheOldOne is how certificates are renewed.
func TestARenewedServicePatchReplacesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	first, err := gen.NewTalosPatches(write(t, dir, small).Nodes[0], gen.TalosDRBD9)
	require.NoError(t, err)
	second, err := gen.NewTalosPatches(write(t, dir, small).Nodes[0], gen.TalosDRBD9)
	require.NoError(t, err)
	require.False(t, bytes.Equal(first.Service, second.Service), "a certificate is new each time")

	base := talosConfig(t)
	require.True(t, bytes.Equal(applied(t, base, second.Service), applied(t, applied(t, base, first.Service), second.Service)))
}

// read a file that only its owner may.
func read(t *testing.T, path string) []byte {
	t.Helper()

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds keys")

	raw, err := os.ReadFile(path)
	require.NoError(t, err)

	return raw
}

func TestTalosLoadsDRBDOnMetadataNodesOnly(t *testing.T) {
	files, err := generate(t, t.TempDir(), small)
	require.NoError(t, err)

	modules := func(node int, drbd gen.TalosDRBD) map[string][]string {
		patches, err := gen.NewTalosPatches(files.Nodes[node], drbd)
		require.NoError(t, err)

		provider, err := configloader.NewFromBytes(applied(t, talosConfig(t), patches.Machine))
		require.NoError(t, err)

		out := map[string][]string{}
		for _, module := range provider.Machine().Kernel().Modules() {
			out[module.Name()] = module.Parameters()
		}

		return out
	}

	require.Equal(t, map[string][]string{
		"drbd": {"usermode_helper=disabled"}, "drbd_transport_tcp": nil,
	}, modules(0, gen.TalosDRBD9))
	require.Equal(t, map[string][]string{
		"drbd": {"usermode_helper=/usr/local/lib/containers/antler/usr/bin/antler-fence", "minor_count=4"},
	}, modules(1, gen.TalosDRBD84))
	require.Empty(t, modules(2, gen.TalosDRBD9), "a witness has no replica")
}

func TestWhatIsNotForTalos(t *testing.T) {
	const text = `
name: home
floating: [10.5.0.250/24]
nodes:
- name: n1
  address: 10.5.0.1
  replica: {device: /dev/vdb}
  chunks: [{path: /srv/chunks}, {path: /var/lib/antler/chunks}]
  network: {interface: eth0, addresses: [10.5.0.1/24]}
  k3s: {role: server}
  debug: {consoleShell: true}
`

	files, err := generate(t, t.TempDir(), text)
	require.NoError(t, err)

	err = files.CheckTalos(gen.TalosDRBD9)

	var problems config.Problems
	require.ErrorAs(t, err, &problems)
	require.Len(t, problems, 4)
	require.ErrorContains(t, err, "n1.network: on Talos the network is Talos's")
	require.ErrorContains(t, err, "n1.k3s: Talos has a Kubernetes of its own")
	require.ErrorContains(t, err, "n1.debug.consoleShell: Talos has no shell")
	require.ErrorContains(t, err, "n1.chunks[0].path: /srv/chunks is not among")

	dir := t.TempDir()
	_, err = files.WriteTalos(dir, gen.TalosDRBD9)
	require.Error(t, err)

	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAnUnknownDRBD(t *testing.T) {
	files, err := generate(t, t.TempDir(), small)
	require.NoError(t, err)
	require.ErrorContains(t, files.CheckTalos("10"), "DRBD 10 is not known: use 9 or 8.4")
}
