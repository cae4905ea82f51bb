package containers

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSpecGivesNoMoreThanAsked(t *testing.T) {
	spec := ContainerSpecSpec{
		Args:         []string{"/usr/sbin/mfsmaster", "-f"},
		Capabilities: []string{"CAP_SYS_NICE", "CAP_SETUID"},
		Mounts: []Mount{
			{Source: "/var/lib/antler/meta/mfs", Destination: "/var/lib/mfs"},
			{Source: "/srv", Destination: "/srv", ReadOnly: true},
		},
	}
	oci := ociSpec("master", spec, spec.Args, DefaultPlaces("/run/antler"))

	assert.Equal(t, []string{"CAP_DAC_READ_SEARCH", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_NICE"}, oci.Process.Capabilities.Bounding)
	assert.Empty(t, oci.Process.Capabilities.Ambient)
	assert.True(t, oci.Process.NoNewPrivileges)
	assert.True(t, oci.Root.Readonly)
	assert.Empty(t, oci.Linux.Devices)
	assert.Empty(t, oci.Linux.RootfsPropagation)
	assert.Equal(t, "/antler/master", oci.Linux.CgroupsPath)
	assert.Contains(t, oci.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	assert.Equal(t, map[string]string{"cpu.weight": "100"}, oci.Linux.Resources.Unified)

	// Whatever is bound from the host is read-only but the data path.
	var writable []string

	for _, m := range oci.Mounts {
		if m.Type == "bind" && !slices.Contains(m.Options, "ro") {
			writable = append(writable, m.Source)
		}
	}

	assert.Equal(t, []string{"/var/lib/antler/meta/mfs"}, writable)
}

func TestSpecForFuse(t *testing.T) {
	oci := ociSpec("mount", ContainerSpecSpec{Fuse: true, Mounts: []Mount{
		{Source: "/m", Destination: "/m", Shared: true},
	}}, nil, DefaultPlaces("/run/antler"))

	assert.Contains(t, oci.Process.Capabilities.Effective, "CAP_SYS_ADMIN")
	assert.Equal(t, "rshared", oci.Linux.RootfsPropagation)
	assert.Equal(t, "/dev/fuse", oci.Linux.Devices[0].Path)
	assert.NotContains(t, oci.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace}, "it could not see whose requests it serves")

	last := oci.Mounts[len(oci.Mounts)-1]
	assert.Equal(t, specs.Mount{
		Destination: "/m", Type: "bind", Source: "/m", Options: []string{"rbind", "nosuid", "nodev", "rshared"},
	}, last)
}

func TestDigestSeesWhatRuns(t *testing.T) {
	base := ContainerSpecSpec{Args: []string{"a"}, Files: map[string]File{"f": {Content: "x"}}}
	same := base
	same.Restart, same.Generation, same.StopTimeout = true, 7, 3
	assert.Equal(t, Digest(base), Digest(same))

	secret := base.DeepCopy()
	secret.Files["f"] = File{Content: "y"}
	assert.NotEqual(t, Digest(base), Digest(secret))

	// A fixed value: an upgrade of antlerd must restart nothing.
	assert.Equal(t, "25f511018852c3151d440aca1be63ce930312c616f510904f5c0793834e03f11", Digest(base))
}

func TestEtcHoldsSecretsForOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	require.NoError(t, writeEtc(dir, map[string]File{"old": {Content: "old"}}))
	require.NoError(t, writeEtc(dir, map[string]File{
		"mfs/mfsmount.cfg": {Content: "mfspassword=hush"},
		"hosts":            {Content: "mine", World: true},
	}))

	info, err := os.Stat(filepath.Join(dir, "mfs/mfsmount.cfg"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())

	text, err := os.ReadFile(filepath.Join(dir, "hosts"))
	require.NoError(t, err)
	assert.Equal(t, "mine", string(text))
	assert.FileExists(t, filepath.Join(dir, "passwd"))
	assert.NoFileExists(t, filepath.Join(dir, "old"))
	assert.Error(t, writeEtc(dir, map[string]File{"../outside": {}}))
}

func TestMountsAtUnescapes(t *testing.T) {
	assert.Equal(t, `/a b\c`, unescapeMount(`/a\040b\134c`))

	types, err := mountsAt("/proc")
	require.NoError(t, err)
	assert.Contains(t, types, "proc")
}
