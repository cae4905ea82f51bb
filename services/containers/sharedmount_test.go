package containers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inOwnMounts runs the test in another process, whose mounts nobody else sees. It
// returns false in this one.
func inOwnMounts(t *testing.T) bool {
	t.Helper()

	const own = "ANTLER_TEST_OWN_MOUNTS"

	if os.Getenv(own) != "" {
		return true
	}

	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), own+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}

	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))

	return false
}

func TestMountpointIsTakenBack(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}

	path := filepath.Join(t.TempDir(), "mounts", "6f1f")

	for range 2 {
		require.NoError(t, shareMountpoint(path))
	}

	mounted, err := mountsAt(path)
	require.NoError(t, err)
	require.Len(t, mounted, 1)

	// What a program has open there keeps it.
	file, err := os.Open(path)
	require.NoError(t, err)
	require.ErrorIs(t, UnshareMountpoint(path), unix.EBUSY)
	require.NoError(t, file.Close())

	// So does what somebody wrote to the local disk.
	require.NoError(t, os.WriteFile(filepath.Join(path, "local"), nil, 0o644))
	require.ErrorIs(t, UnshareMountpoint(path), unix.ENOTEMPTY)
	require.FileExists(t, filepath.Join(path, "local"))
	require.NoError(t, os.Remove(filepath.Join(path, "local")))

	for range 2 {
		require.NoError(t, UnshareMountpoint(path), "idempotent")
	}

	require.NoDirExists(t, path)

	mounted, err = mountsAt(path)
	require.NoError(t, err)
	require.Empty(t, mounted)
}

// A FUSE file system that is still there is an error, and stays: whoever unmounted
// it here would let a program that uses it out of sight.
func TestMountedFuseIsNotTakenBack(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}

	path := filepath.Join(t.TempDir(), "6f1f")
	require.NoError(t, shareMountpoint(path))

	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}

	options := "rootmode=40000,user_id=0,group_id=0,fd=" + strconv.Itoa(int(device.Fd()))
	require.NoError(t, unix.Mount("10.0.0.1:9421/volumes/a/data", path, "fuse.mfs", 0, options))
	require.ErrorContains(t, UnshareMountpoint(path), "fuse.mfs is still mounted at "+path)

	mounted, err := mountsAt(path)
	require.NoError(t, err)
	require.Len(t, mounted, 2)

	require.NoError(t, device.Close())
	require.NoError(t, unmountFuse(path))
	require.NoError(t, UnshareMountpoint(path))
}
