package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ownMounts tells a test that it runs in a mount namespace of its own.
const ownMounts = "ANTLER_TEST_OWN_MOUNTS"

// inOwnMounts runs the test in another process, whose mounts nobody else sees.
// It returns false in this one.
func inOwnMounts(t *testing.T) bool {
	t.Helper()

	if os.Getenv(ownMounts) != "" {
		return true
	}

	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}

	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))

	return false
}

func TestBindsOnThisHost(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}

	source, kubelet := t.TempDir(), t.TempDir()
	h := NewHostMounts(kubelet, "/var/lib/antler/mnt", "/var/lib/antler/mounts")
	target, readOnly := filepath.Join(kubelet, "pod"), filepath.Join(kubelet, "pod-ro")
	data := open(t, source)

	require.NoError(t, h.Bind(t.Context(), data, target, 0))
	require.NoError(t, h.Bind(t.Context(), data, readOnly, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOATIME))

	require.NoError(t, os.WriteFile(filepath.Join(target, "f"), []byte("x"), 0o644))
	require.FileExists(t, filepath.Join(source, "f"))
	require.ErrorIs(t, os.WriteFile(filepath.Join(readOnly, "g"), nil, 0o644), unix.EROFS)

	mounts, err := h.List()
	require.NoError(t, err)
	require.Len(t, mounts, 2)
	require.True(t, contains(mounts, target))

	// What a pod has open keeps it mounted, and that is an error.
	file := open(t, filepath.Join(target, "f"))
	require.ErrorIs(t, h.Unmount(t.Context(), target), unix.EBUSY)
	require.NoError(t, file.Close())

	// Mounted twice, by a call that was repeated: both go.
	require.NoError(t, h.Bind(t.Context(), data, target, 0))

	for range 2 {
		require.NoError(t, h.Unmount(t.Context(), target), "idempotent")
	}

	require.NoError(t, h.Unmount(t.Context(), readOnly))
	require.FileExists(t, filepath.Join(source, "f"), "the volume's data stays")

	mounts, err = h.List()
	require.NoError(t, err)
	require.Empty(t, mounts)

	// What was written to the local disk is never deleted.
	require.NoError(t, os.WriteFile(filepath.Join(target, "local"), nil, 0o644))
	require.Error(t, h.Remove(t.Context(), target))
	require.FileExists(t, filepath.Join(target, "local"))
	require.NoError(t, os.Remove(filepath.Join(target, "local")))

	for range 2 {
		require.NoError(t, h.Remove(t.Context(), target), "idempotent")
	}

	require.NoError(t, h.Unmount(t.Context(), filepath.Join(kubelet, "no", "such")))
	require.NoError(t, h.Remove(t.Context(), filepath.Join(kubelet, "no", "such")))
}

// A link below kubelet's directory leads nowhere, at no step.
func TestLinksOnTheWayToATarget(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}

	source, outside, kubelet := t.TempDir(), t.TempDir(), t.TempDir()
	h := NewHostMounts(kubelet, "/var/lib/antler/mnt", "/var/lib/antler/mounts")
	data := open(t, source)

	require.NoError(t, os.Mkdir(filepath.Join(outside, "pod"), 0o755))
	require.NoError(t, unix.Mount(source, filepath.Join(outside, "pod"), "", unix.MS_BIND, ""))
	require.NoError(t, os.Symlink(outside, filepath.Join(kubelet, "link")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "pod"), filepath.Join(kubelet, "pod")))

	for _, target := range []string{"link/pod", "pod", "link/new", "../" + filepath.Base(outside) + "/pod"} {
		path := kubelet + "/" + target

		require.Error(t, h.Bind(t.Context(), data, path, 0), target)
		// Nothing is mounted at the link itself.
		if target == "pod" {
			require.NoError(t, h.Unmount(t.Context(), path))
		} else {
			require.Error(t, h.Unmount(t.Context(), path), target)
		}

		require.Error(t, h.Remove(t.Context(), path), target)
	}

	require.NoDirExists(t, filepath.Join(outside, "new"))

	var at, of unix.Stat_t

	require.NoError(t, unix.Stat(filepath.Join(outside, "pod"), &at))
	require.NoError(t, unix.Stat(source, &of))
	require.Equal(t, of.Ino, at.Ino, "what is mounted elsewhere stays")
	require.NoError(t, unix.Unmount(filepath.Join(outside, "pod"), 0))
}

// What mfsmount's lines in /proc/self/mountinfo say (149 is recorded from 4.57.5, as
// Debian's libfuse has it; those of type fuse.mfs are by its source): the directory that
// its mount shows stands behind the master's address, and that of a bind is below
// it.
func TestMountsOfMooseFS(t *testing.T) {
	h := NewHostMounts("/var/lib/kubelet", "/var/lib/antler/mnt", "/var/lib/antler/mounts")

	for line, want := range map[string]Mount{
		"36 35 0:50 / /var/lib/antler/mnt rw shared:9 - fuse.mfs 10.77.0.100:9421 rw":                         {Root: "/"},
		"37 35 0:50 /volumes/db/data /var/lib/kubelet/p rw - fuse.mfs 10.77.0.100:9421 rw":                    {Root: "/volumes/db/data"},
		"38 35 0:51 / /var/lib/antler/mounts/6f1f rw shared:9 - fuse.mfs 10.77.0.100:9421/volumes/db/data rw": {Root: "/volumes/db/data", Own: true},
		"39 35 0:51 / /var/lib/kubelet/p rw - fuse.mfs 10.77.0.100:9421/volumes/db/data rw":                   {Root: "/volumes/db/data", Own: true},
		"40 35 0:51 /sub /var/lib/kubelet/p rw - fuse.mfs 10.77.0.100:9421/volumes/db/data rw":                {Root: "/volumes/db/data/sub", Own: true},
		`149 30 0:61 / /var/lib/kubelet/p rw shared:78 - fuse mfs\04310.77.0.10:9421/volumes/own-0/data rw`:   {Root: "/volumes/own-0/data", Own: true},
		`150 30 0:60 /volumes/db/data /var/lib/kubelet/p rw - fuse mfs\04310.77.0.10:9421 rw`:                 {Root: "/volumes/db/data"},
		"151 30 0:61 / /var/lib/kubelet/p rw - fuse host:9421/volumes/db/data rw":                             {Root: "/"},
		"41 35 0:52 / /var/lib/kubelet/p rw - fuse.sshfs host:/volumes/db/data rw":                            {Root: "/"},
		"42 35 0:51 / /var/lib/kubelet/p rw - fuse.mfs 10.77.0.100:9421/volumes/../db rw":                     {Root: "/db", Own: true},
	} {
		infos, err := mountinfo.GetMountsFromReader(strings.NewReader(line+"\n"), nil)
		require.NoError(t, err)
		require.Len(t, infos, 1)

		root, own := rootWithin(infos[0])
		require.Equal(t, want, Mount{Root: root, Own: own}, line)
		require.Equal(t, strings.HasPrefix(infos[0].Mountpoint, "/var/lib/antler"), h.isSource(infos[0]), line)
	}
}

// Kubelet's directory itself may be a link.
func TestKubeletDirectoryIsALink(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}

	source, behind := t.TempDir(), t.TempDir()
	kubelet := filepath.Join(t.TempDir(), "kubelet")
	require.NoError(t, os.Symlink(behind, kubelet))

	h := NewHostMounts(kubelet, "/var/lib/antler/mnt", "/var/lib/antler/mounts")
	target := filepath.Join(kubelet, "pod")
	require.NoError(t, h.Bind(t.Context(), open(t, source), target, 0))

	mounts, err := h.List()
	require.NoError(t, err)
	require.True(t, contains(mounts, target), "%v", mounts)

	require.NoError(t, h.Unmount(t.Context(), target))

	mounts, err = h.List()
	require.NoError(t, err)
	require.Empty(t, mounts)
}
