package containers_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/containers"
)

// The tests against a real containerd need root, cgroup v2 and a socket of a
// containerd that they may use: ANTLER_TEST_CONTAINERD names it. The VM tests
// cover the same ground on the product.
func realContainerd(t *testing.T) (*containers.Containerd, string, containers.Places) {
	t.Helper()

	socket := os.Getenv("ANTLER_TEST_CONTAINERD")
	if socket == "" {
		t.Skip("ANTLER_TEST_CONTAINERD is not set")
	}

	root := t.TempDir()
	for _, dir := range []string{"usr", "etc", "proc", "dev", "sys", "run", "tmp", "var/lib/antler"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}

	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		require.NoError(t, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}

	places := containers.DefaultPlaces(t.TempDir())
	places.RootFS = root

	runtime, err := containers.NewContainerd(socket, places)
	require.NoError(t, err)
	t.Cleanup(func() { runtime.Close() })

	return runtime, socket, places
}

func remove(ctx context.Context, runtime *containers.Containerd, name string, signal syscall.Signal, timeout time.Duration) error {
	return errors.Join(runtime.Stop(ctx, name, signal, timeout), runtime.Delete(ctx, name))
}

func shell(script string) containers.ContainerSpecSpec {
	return containers.ContainerSpecSpec{
		Args:      []string{"/usr/bin/sh", "-c", script},
		OpenFiles: 1024,
		Files:     map[string]containers.File{"secret": {Content: "hush", Owner: containers.MFSUser}},
	}
}

const script = `id -u; cat /etc/secret; ls -ln /etc/secret; touch /usr/x /x 2>&1; trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done`

func TestContainerdRunsStopsAndAdopts(t *testing.T) {
	runtime, socket, places := realContainerd(t)
	ctx := t.Context()
	name := "test-adopt"

	t.Cleanup(func() {
		assert.NoError(t, remove(context.Background(), runtime, name, syscall.SIGKILL, 0))
	})

	spec := shell(script)
	spec.Generation = 3

	task, err := runtime.Start(ctx, name, spec)
	require.NoError(t, err)
	assert.Equal(t, containers.Digest(spec), task.Digest)

	awaitLog(t, places, name, "ready")

	// Another antlerd finds the same process.
	other, err := containers.NewContainerd(socket, places)
	require.NoError(t, err)

	defer other.Close()

	found, err := other.Find(ctx, name)
	require.NoError(t, err)
	require.NotNil(t, found)
	assert.Equal(t, task.PID, found.PID)
	assert.Equal(t, uint64(3), found.Generation)
	assert.Equal(t, task.Digest, found.Digest)

	_, err = other.Start(ctx, name, spec)
	assert.ErrorContains(t, err, "still runs")

	// An orderly stop runs the trap; both see the end and the code.
	require.NoError(t, remove(ctx, other, name, syscall.SIGTERM, 5*time.Second))
	assert.Contains(t, []int{7, -1}, <-found.ExitCode)
	<-task.Exited

	alive, err := runtime.Alive(name)
	require.NoError(t, err)
	assert.False(t, alive)

	found, err = runtime.Find(ctx, name)
	require.NoError(t, err)
	assert.Nil(t, found)

	log, err := os.ReadFile(filepath.Join(places.LogDir(), name+".log"))
	require.NoError(t, err)
	t.Log(string(log))
	assert.Contains(t, string(log), "bye")
	assert.Contains(t, string(log), "hush", "root reads what belongs to mfs")
	assert.Contains(t, string(log), "Read-only file system")
}

func TestContainerdKillsAtOnce(t *testing.T) {
	runtime, _, places := realContainerd(t)
	ctx := t.Context()
	name := "test-kill"

	t.Cleanup(func() {
		assert.NoError(t, remove(context.Background(), runtime, name, syscall.SIGKILL, 0))
	})

	task, err := runtime.Start(ctx, name, shell(`trap '' TERM; echo ready; while :; do sleep 1; done`))
	require.NoError(t, err)
	awaitLog(t, places, name, "ready")

	begin := time.Now()

	require.NoError(t, runtime.Kill(ctx, name, syscall.SIGKILL))
	code := <-task.ExitCode
	t.Logf("killed in %v, code %d", time.Since(begin), code)
	assert.Equal(t, 137, code)

	alive, err := runtime.Alive(name)
	require.NoError(t, err)
	assert.False(t, alive)

	// A stop that is ignored ends all the same.
	_, err = runtime.Start(ctx, name, shell(`trap '' TERM; echo ready2; while :; do sleep 1; done`))
	require.NoError(t, err)
	awaitLog(t, places, name, "ready2")
	require.NoError(t, remove(ctx, runtime, name, syscall.SIGTERM, 100*time.Millisecond))

	names, err := runtime.Names(ctx)
	require.NoError(t, err)
	assert.NotContains(t, names, name)
}

// A FUSE mount of a container is seen outside, and one left behind by a dead
// process is gone before the next start. The mount is played by a tmpfs, which
// needs the same capability and takes the same way.
func TestContainerdSharesMounts(t *testing.T) {
	runtime, _, places := realContainerd(t)
	ctx := t.Context()
	name := "test-share"
	point := filepath.Join(t.TempDir(), "mnt")

	t.Cleanup(func() {
		assert.NoError(t, remove(context.Background(), runtime, name, syscall.SIGKILL, 0))
		for syscall.Unmount(point, syscall.MNT_DETACH) == nil {
		}
	})

	spec := shell(`mount -t tmpfs none /var/lib/antler/mnt && touch /var/lib/antler/mnt/hello && echo ready; ls -l /dev/fuse; sleep 1000`)
	spec.Fuse = true
	spec.Mounts = []containers.Mount{{Source: point, Destination: "/var/lib/antler/mnt", Shared: true}}

	_, err := runtime.Start(ctx, name, spec)
	require.NoError(t, err)
	awaitLog(t, places, name, "ready")
	assert.FileExists(t, filepath.Join(point, "hello"))

	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), places.RootFS, "the container's own mounts stay inside")
}

func awaitLog(t *testing.T, places containers.Places, name, text string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	seen := false
	found := func(line string) error {
		if strings.Contains(line, text) {
			seen = true

			cancel()
		}

		return nil
	}

	require.NoError(t, containers.TailLog(ctx, places.LogDir(), name, 0, true, found))
	require.True(t, seen, "%q never appeared in the log", text)
}

// The master is killed in time even while containerd hangs.
func TestContainerdKillsWhileContainerdHangs(t *testing.T) {
	runtime, _, places := realContainerd(t)
	name := "test-hang"

	daemon, err := strconv.Atoi(os.Getenv("CONTAINERD_PID"))
	if err != nil {
		t.Skip("CONTAINERD_PID is not set")
	}

	t.Cleanup(func() {
		assert.NoError(t, remove(context.Background(), runtime, name, syscall.SIGKILL, 0))
	})

	task, err := runtime.Start(t.Context(), name, shell(`echo ready; while :; do sleep 1; done`))
	require.NoError(t, err)
	awaitLog(t, places, name, "ready")

	require.NoError(t, syscall.Kill(daemon, syscall.SIGSTOP))

	defer syscall.Kill(daemon, syscall.SIGCONT)

	require.NoError(t, runtime.Kill(t.Context(), name, syscall.SIGKILL))
	assert.Equal(t, -1, <-task.ExitCode, "the end is seen, the code is not")

	alive, err := runtime.Alive(name)
	require.NoError(t, err)
	assert.False(t, alive)
}
