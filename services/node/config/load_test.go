package config_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/siderolabs/go-procfs/procfs"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

func TestLoadIsStrict(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "version: 1\ncluster:\n  title: home\n", `line 3: unknown key "title"`},
		{"two unknown keys", "release: 1\nndoe: {}\n", "line 1: unknown key \"release\"\nline 2: unknown key \"ndoe\""},
		{"an ssh key", "version: 1\nnode:\n  sshKeys: [ssh-ed25519 AAAA]\n  fresh: x\n", `line 3: unknown key "sshKeys": a node has no ssh server, by design: ` +
			`remove it; node.debug.consoleShell opens a root shell on the console, and antlerctl does all else` + "\n" + `line 4: unknown key "fresh"`},
		{"an ssh key by another name", "authorized_keys: x\n", `line 1: unknown key "authorized_keys": a node has no ssh server, by design: ` +
			`remove it; node.debug.consoleShell opens a root shell on the console, and antlerctl does all else`},
		{"bad address", "version: 1\ncluster:\n  nodes:\n  - address: 10.0.0.300\n", `line 4: 10.0.0.300 is not an IP address: IPv4 field has value >255`},
		{"bad prefix", "cluster:\n  floating: [10.0.0.1]\n", `line 2: 10.0.0.1 lacks the length of its network: write 10.0.0.1/24, if that has 24 bits`},
		{"bad length", "cluster:\n  floating: [10.0.0.1/40]\n", `line 2: 10.0.0.1/40 is not an address with the length of its network, such as 192.168.1.250/24: prefix length out of range`},
		{"empty", "", "the file is empty"},
		{"two documents", "version: 1\n---\nversion: 1\n", "the file has more than one YAML document: remove what follows the second `---`"},
		{"truncated", "version: 1\ncluster: {name: ho", "line 1: did not find expected ',' or '}'"},
		{"not YAML", "\x00\x01\x02", "control characters are not allowed"},
		{"wrong kind", "version: one\n", "line 1: cannot unmarshal !!str `one` into int"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Load([]byte(tc.text))
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestLoadFillsInDefaults(t *testing.T) {
	cfg, err := config.Load([]byte("cluster: {storage: {trashTime: 0}}"))
	require.NoError(t, err)
	require.Equal(t, config.Storage{Copies: 2, TrashTime: 0, Durability: config.DurabilitySafe}, cfg.Cluster.Storage)
}

func TestLoadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")

	_, err := config.LoadFile(path, now())
	require.ErrorIs(t, err, fs.ErrNotExist)

	raw, err := yaml.Marshal(node(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o600))

	cfg, err := config.LoadFile(path, now())
	require.NoError(t, err)
	require.Equal(t, "n1", cfg.Node.Name)

	// A file cut off anywhere is refused, not half believed.
	for size := range len(raw) / 97 {
		require.NoError(t, os.WriteFile(path, raw[:size*97], 0o600))

		_, err = config.LoadFile(path, now())
		require.ErrorContains(t, err, path)
	}
}

func TestKernelCommandLineWins(t *testing.T) {
	cmdline := procfs.NewCmdline("root=/dev/vda2 antler.config=/boot/other.yaml quiet")

	require.Equal(t, "/boot/other.yaml", config.Path("/etc/given.yaml", cmdline))
	require.Equal(t, "/etc/given.yaml", config.Path("/etc/given.yaml", procfs.NewCmdline("quiet")))
	require.Equal(t, config.DefaultPath, config.Path("", nil))
}

type fakeHost struct {
	networks []netip.Prefix
	sizes    map[string]int64
	err      error
}

func (h fakeHost) Networks() ([]netip.Prefix, error) { return h.networks, h.err }

func (h fakeHost) DeviceSize(path string) (int64, error) {
	size, found := h.sizes[path]
	if !found {
		return 0, fs.ErrNotExist
	}

	return size, nil
}

func TestValidateLocal(t *testing.T) {
	cfg := node(t)
	good := fakeHost{networks: prefixes("10.5.0.1/24"), sizes: map[string]int64{"/dev/vdb": 128 << 20, "/dev/vdc": 1 << 30}}
	require.NoError(t, config.ValidateLocal(cfg, good))

	bad := fakeHost{networks: prefixes("192.168.0.1/24"), sizes: map[string]int64{"/dev/vdb": 100 << 20}}
	require.Equal(t, []string{
		"node.replica.device: /dev/vdb has 100 MiB, which is too small: use one of at least 128 MiB",
		"cluster.floating[0]: 10.5.0.250/24 is outside every local network [192.168.0.1/24]: " +
			"write a free address of one of them, or give this machine an address in its network",
		"node.chunks[0].device: /dev/vdc is not there: plug the disk in, or correct the path",
	}, problems(t, config.ValidateLocal(cfg, bad)))

	require.ErrorContains(t, config.ValidateLocal(cfg, fakeHost{err: errors.New("netlink is gone")}), "netlink is gone")
}

func TestMachineRefusesWhatIsNoDisk(t *testing.T) {
	_, err := config.Machine{}.DeviceSize("/dev/null")
	require.EqualError(t, err, "/dev/null is not a block device")

	_, err = config.Machine{}.DeviceSize("/dev/antler-does-not-exist")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
