package debian

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSuiteSources(t *testing.T) {
	const mirror, security = "http://mirror.example/debian/", "http://mirror.example/debian-security/"
	for name, c := range map[string]struct {
		targets string
		want    []string
	}{
		"a Debian machine, whatever its release": {
			mirror + " bookworm-updates Debian Debian\n" + mirror + " bookworm Debian Debian\n" +
				security + " bookworm-security Debian Debian-Security\n" +
				"http://mirror.example/debian/ bookworm-backports Debian Debian Backports\n" +
				"http://tools.example/apt tools Tools Tools\n",
			[]string{"deb " + mirror + " trixie main contrib", "deb " + mirror + " trixie-updates main contrib",
				"deb " + security + " trixie-security main contrib"},
		},
		"no security archive known": {
			mirror + " bookworm Debian Debian\n",
			[]string{"deb " + mirror + " trixie main contrib", "deb " + mirror + " trixie-updates main contrib"},
		},
		"Ubuntu leaves it to mmdebstrap": {"http://ubuntu.example/ noble Ubuntu Ubuntu\n", nil},
		"no lists yet":                   {"", nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, suiteSources(c.targets, "trixie", "main contrib")) })
	}
}

func TestSidIsAllThereIs(t *testing.T) {
	targets := "http://mirror.example/debian/ bookworm Debian Debian\nhttp://mirror.example/security/ bookworm-security Debian Debian-Security\n"
	require.Equal(t, []string{"deb http://mirror.example/debian/ sid main"}, suiteSources(targets, "sid", "main"))
}

func TestManifestOf(t *testing.T) {
	got, err := manifestOf("lock\npartial\niproute2_6.15.0-1_arm64.deb\nfuse3_1%3a3.17-1+b1_arm64.deb\n")
	require.NoError(t, err)
	require.Equal(t, "iproute2 6.15.0-1\nfuse3 1:3.17-1+b1\n", got)

	_, err = manifestOf("lock\npartial\n")
	require.Error(t, err)
}

func TestWhatTheMachineLacks(t *testing.T) {
	require.NoError(t, CheckMachine(0, []string{"cp", "sh"}))
	require.ErrorContains(t, CheckMachine(1000, nil), "run this as root")
	require.EqualError(t, CheckMachine(0, []string{"cp", "antler-no-such-program"}), "antler-no-such-program is not installed: run scripts/install-packages")
}

func TestWhatIsKeptIsWhole(t *testing.T) {
	dir, filled := filepath.Join(t.TempDir(), "tree-1"), 0
	fill := func(end error) func(string) error {
		return func(dir string) error {
			filled++

			return errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), os.Mkdir(filepath.Join(dir, "root"), 0o755), end)
		}
	}

	require.Error(t, Kept(dir, fill(errors.New("the network is gone"))))
	require.NoDirExists(t, dir)

	// What the failed one left is in nobody's way, and what is there stays.
	require.NoError(t, Kept(dir, fill(nil)))
	require.NoError(t, Kept(dir, fill(nil)))
	require.FileExists(t, filepath.Join(dir, "file"))
	require.NoDirExists(t, dir+".new")
	require.Equal(t, 2, filled)
}
