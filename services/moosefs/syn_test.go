package moosefs

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The kernel says how long it waits before it sends the SYN again. It needs root.
func TestHastenShortensThePauseOfTheMastersPorts(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	full, other := silentPort(t), silentPort(t)

	hastened, err := hastenIn(allProcesses(t), loopback, full, full)
	if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("no programs for the kernel here: %v", err)
	}

	require.NoError(t, err)
	assert.Equal(t, synEvery, pause(t, full))
	assert.Equal(t, time.Second, pause(t, other), "another port")

	require.NoError(t, hastened.Close())
	assert.Equal(t, time.Second, pause(t, full), "and no longer than it is wanted")
}

// allProcesses is where their control group is mounted for the test.
func allProcesses(t *testing.T) string {
	t.Helper()

	dir := t.TempDir()

	err := unix.Mount("cgroup2", dir, "cgroup2", 0, "")
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}

	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })

	return dir
}

// silentPort is one at which nobody answers a SYN: a listener's whose queue is full.
func silentPort(t *testing.T) uint16 {
	t.Helper()

	listener := socket(t)
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 0))

	bound, err := unix.Getsockname(listener)
	require.NoError(t, err)

	port := uint16(bound.(*unix.SockaddrInet4).Port)

	// One more than its length fits in.
	for range 2 {
		connect(t, port)
	}

	return port
}

func socket(t *testing.T) int {
	t.Helper()

	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })

	return fd
}

func connect(t *testing.T, port uint16) int {
	t.Helper()

	fd := socket(t)

	err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(port)})
	if !errors.Is(err, unix.EINPROGRESS) {
		require.NoError(t, err)
	}

	return fd
}

// pause until the SYN of a new connection is sent again.
func pause(t *testing.T, port uint16) time.Duration {
	t.Helper()

	info, err := unix.GetsockoptTCPInfo(connect(t, port), unix.SOL_TCP, unix.TCP_INFO)
	require.NoError(t, err)
	require.EqualValues(t, 2, info.State, "SYN_SENT")

	return time.Duration(info.Rto) * time.Microsecond
}
