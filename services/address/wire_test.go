package address

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wire is two machines with one cable: the test's thread is on "node", whose
// interface is node0; "peer" has peer0.
type wire struct {
	node, peer netns.NsHandle
}

// newWire makes the two network namespaces and leaves the thread in the node's.
func newWire(t *testing.T) *wire {
	t.Helper()

	if os.Getuid() != 0 {
		t.Skip("needs root for network namespaces")
	}

	runtime.LockOSThread()

	origin, err := netns.Get()
	require.NoError(t, err)

	w := &wire{}
	t.Cleanup(func() {
		// If this fails the thread must not be used again: it stays locked and
		// ends with the goroutine.
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}

		for _, ns := range []netns.NsHandle{origin, w.node, w.peer} {
			_ = ns.Close()
		}
	})

	w.peer, err = netns.New()
	require.NoError(t, err)
	w.node, err = netns.New()
	require.NoError(t, err)

	require.NoError(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "node0"}, PeerName: "peer0", PeerNamespace: netlink.NsFd(w.peer),
	}))

	w.configure(t, w.node, "node0", "10.77.0.1/24", "fd77::1/64")
	w.configure(t, w.peer, "peer0", "10.77.0.2/24", "fd77::2/64")
	// Until the kernel has noticed the carrier it drops what is sent.
	await(t, "carrier", func() bool { return w.up(t, w.node, "node0") && w.up(t, w.peer, "peer0") })

	return w
}

func (w *wire) up(t *testing.T, ns netns.NsHandle, name string) (up bool) {
	t.Helper()

	w.in(t, ns, func() {
		link, err := netlink.LinkByName(name)
		require.NoError(t, err)

		up = link.Attrs().OperState == netlink.OperUp
	})

	return up
}

func (w *wire) configure(t *testing.T, ns netns.NsHandle, name string, prefixes ...string) {
	t.Helper()

	w.in(t, ns, func() {
		link, err := netlink.LinkByName(name)
		require.NoError(t, err)

		for _, p := range prefixes {
			a, err := netlink.ParseAddr(p)
			require.NoError(t, err)

			a.Flags = unix.IFA_F_NODAD
			require.NoError(t, netlink.AddrAdd(link, a))
		}

		require.NoError(t, netlink.LinkSetUp(link))
	})
}

// in runs f on one of the two machines.
func (w *wire) in(t *testing.T, ns netns.NsHandle, f func()) {
	t.Helper()

	before, err := netns.Get()
	require.NoError(t, err)

	defer before.Close()

	require.NoError(t, netns.Set(ns))
	f()
	require.NoError(t, netns.Set(before))
}

// stale gives the peer a wrong hardware address for addr, as if another node
// had held it before.
func (w *wire) stale(t *testing.T, addr netip.Addr) {
	t.Helper()

	w.in(t, w.peer, func() {
		link, err := netlink.LinkByName("peer0")
		require.NoError(t, err)
		require.NoError(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: addr.AsSlice(), State: netlink.NUD_STALE,
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9},
		}))
	})
}

// neighbour is the hardware address that the peer has for addr.
func (w *wire) neighbour(t *testing.T, addr netip.Addr) string {
	t.Helper()

	var mac string

	w.in(t, w.peer, func() {
		list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		require.NoError(t, err)

		for _, n := range list {
			if n.IP.Equal(addr.AsSlice()) {
				mac = n.HardwareAddr.String()
			}
		}
	})

	return mac
}

// mac of the node's interface.
func (w *wire) mac(t *testing.T, ns netns.NsHandle, name string) net.HardwareAddr {
	t.Helper()

	var mac net.HardwareAddr

	w.in(t, ns, func() {
		link, err := netlink.LinkByName(name)
		require.NoError(t, err)

		mac = link.Attrs().HardwareAddr
	})

	return mac
}

// await asks the kernel again and again. testify's Eventually won't do: it asks
// from another thread, which is on another machine here.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()

	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()

	for range 5000 {
		if is() {
			return
		}

		<-tick.C
	}

	t.Fatalf("waited 5 s for %s", what)
}

func addresses(t *testing.T) string {
	t.Helper()

	all, err := assignedAddresses()
	require.NoError(t, err)

	var out []string
	for _, a := range all {
		out = append(out, a.prefix.String())
	}

	return strings.Join(out, " ")
}
