package address

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The floating addresses of these tests, the node's own, and a neighbour's.
var (
	floating4 = netip.MustParseAddr("10.77.0.100")
	floating6 = netip.MustParseAddr("fd77::100")
)

func ignore(net.HardwareAddr) {}

func TestKernelAddsToTheRightNetworkAndRemoves(t *testing.T) {
	newWire(t)

	k := Kernel{}
	for _, addr := range []netip.Addr{floating4, floating6} {
		link, err := k.Add(addr)
		require.NoError(t, err)
		require.Equal(t, "node0", link)

		again, err := k.Add(addr)
		require.NoError(t, err, "adding twice is no error")
		require.Equal(t, "node0", again)
	}

	require.Contains(t, addresses(t), "10.77.0.100/24", "the network's prefix length, so that it is a secondary address")
	require.Contains(t, addresses(t), "fd77::100/64")

	left, err := k.Leftovers()
	require.NoError(t, err)
	require.ElementsMatch(t, []netip.Addr{floating4, floating6}, left, "only ours are recognised as ours")

	for _, addr := range left {
		require.NoError(t, k.Remove(addr))
		require.NoError(t, k.Remove(addr), "removing twice is no error")
	}

	require.NotContains(t, addresses(t), "100/")
	require.Contains(t, addresses(t), "10.77.0.1/24")
}

func TestKernelLeavesTheNodesOwnSourceAddress(t *testing.T) {
	newWire(t)

	for _, addr := range []netip.Addr{floating4, floating6} {
		_, err := Kernel{}.Add(addr)
		require.NoError(t, err)
	}

	for to, want := range map[string]string{
		"10.77.0.2:9": "10.77.0.1", "[fd77::2]:9": "fd77::1",
		// A client on the serving node itself.
		"10.77.0.100:9": "10.77.0.1",
	} {
		conn, err := net.Dial("udp", to)
		require.NoError(t, err)

		from := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		require.Equal(t, want, from.String(), "source of what goes to %s", to)
		conn.Close()
	}
}

func TestKernelTellsOfChanges(t *testing.T) {
	for name, change := range map[string]func() error{
		"address": func() error {
			link, err := netlink.LinkByName("lo")

			return errors.Join(err, netlink.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(floating4.AsSlice())}))
		},
		"interface": func() error {
			link, err := netlink.LinkByName("lo")

			return errors.Join(err, netlink.LinkSetAlias(link, "another"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			newWire(t)

			// A machine of which there is nothing else to tell.
			quiet, err := netns.New()
			require.NoError(t, err)

			defer quiet.Close()

			// Nothing is told of an interface that is down and stays so.
			lo, err := netlink.LinkByName("lo")
			require.NoError(t, err)
			require.NoError(t, netlink.LinkSetUp(lo))

			ctx, cancel := context.WithCancel(t.Context())
			changed, done := make(chan struct{}, 1), make(chan struct{})

			go func() {
				defer close(done)

				// Never unlocked: the thread ends with the goroutine.
				runtime.LockOSThread()

				if netns.Set(quiet) == nil {
					watchOnce(ctx, changed)
				}
			}()

			told := func(what string) {
				select {
				case <-changed:
				case <-done:
					t.Fatalf("nothing is watched any more: waited for %s", what)
				case <-time.After(5 * time.Second):
					t.Fatalf("waited 5 s for %s", what)
				}
			}

			told("what may have changed before")
			require.NoError(t, change())
			told("the change")

			cancel()
			<-done
		})
	}
}

func TestKernelRefusesForeignNetwork(t *testing.T) {
	newWire(t)

	_, err := Kernel{}.Add(netip.MustParseAddr("192.0.2.7"))
	require.ErrorContains(t, err, "192.0.2.7")
	require.ErrorContains(t, err, "outside every local network")
	require.ErrorContains(t, err, "node0 10.77.0.1/24")
}

func TestAnnouncementChangesTheNeighboursCache(t *testing.T) {
	w := newWire(t)

	for _, addr := range []netip.Addr{floating4, floating6} {
		w.stale(t, addr)

		link, err := Kernel{}.Add(addr)
		require.NoError(t, err)

		segment, err := Kernel{}.Join(link, addr, ignore)
		require.NoError(t, err)
		require.NoError(t, segment.Announce())

		// A veth delivers on the sender's processor, but not necessarily before
		// the sender returns.
		mine := w.mac(t, w.node, "node0").String()
		await(t, "the neighbour's cache to have "+addr.String(), func() bool { return w.neighbour(t, addr) == mine })
		require.NoError(t, segment.Close())
	}
}

func TestAnnouncementHasBothForms(t *testing.T) {
	w := newWire(t)

	var peer *packet.Conn

	w.in(t, w.peer, func() {
		ifi, err := net.InterfaceByName("peer0")
		require.NoError(t, err)

		peer, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
		require.NoError(t, err)
	})
	defer peer.Close()

	link, err := Kernel{}.Add(floating4)
	require.NoError(t, err)

	segment, err := Kernel{}.Join(link, floating4, ignore)
	require.NoError(t, err)

	defer segment.Close()

	require.NoError(t, segment.Announce())
	require.NoError(t, peer.SetReadDeadline(time.Now().Add(2*time.Second)))

	seen := map[string]bool{}
	frame := make([]byte, 256)

	for range 3 {
		n, _, err := peer.ReadFrom(frame)
		require.NoError(t, err, "after %v", seen)

		seen[describeARP(frame[:n])] = true
	}

	require.Equal(t, map[string]bool{
		"request from 10.77.0.100": true, "reply from 10.77.0.100": true, "request from 0.0.0.0": true,
	}, seen)
}

func describeARP(frame []byte) string {
	op := map[uint16]string{1: "request", 2: "reply"}[binary.BigEndian.Uint16(frame[etherHeader+6:])]
	from, _ := netip.AddrFromSlice(frame[arpSenderIP : arpSenderIP+4])

	return op + " from " + from.String()
}

func TestAnotherHolderIsHeard(t *testing.T) {
	w := newWire(t)

	// The peer has both addresses too.
	w.configure(t, w.peer, "peer0", "10.77.0.100/24", "fd77::100/64")

	for _, addr := range []netip.Addr{floating4, floating6} {
		link, err := Kernel{}.Add(addr)
		require.NoError(t, err)

		claims := make(chan net.HardwareAddr, 16)
		segment, err := Kernel{}.Join(link, addr, func(mac net.HardwareAddr) { claims <- mac })
		require.NoError(t, err)

		require.Equal(t, w.mac(t, w.peer, "peer0"), heard(t, segment, claims), "who has %s as well", addr)

		require.NoError(t, segment.Close())
	}
}

// heard announces again and again, as the controller does, until somebody
// claims the address: a peer whose link has just come up misses the first.
func heard(t *testing.T, segment Segment, claims <-chan net.HardwareAddr) net.HardwareAddr {
	t.Helper()

	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()

	give := time.After(5 * time.Second)

	for {
		require.NoError(t, segment.Announce())

		select {
		case mac := <-claims:
			return mac
		case <-again.C:
		case <-give:
			require.Fail(t, "nobody claims the address")
		}
	}
}

func TestNobodyElseIsHeardWithoutAnotherHolder(t *testing.T) {
	newWire(t)

	for _, addr := range []netip.Addr{floating4, floating6} {
		link, err := Kernel{}.Add(addr)
		require.NoError(t, err)

		claims := make(chan net.HardwareAddr, 16)
		segment, err := Kernel{}.Join(link, addr, func(mac net.HardwareAddr) { claims <- mac })
		require.NoError(t, err)
		require.NoError(t, segment.Announce())
		require.NoError(t, segment.Close())
		require.Empty(t, claims, "our own announcement of %s was taken for somebody else's", addr)
	}
}

func TestRemoveAbortsConnections(t *testing.T) {
	w := newWire(t)

	_, err := Kernel{}.Add(floating4)
	require.NoError(t, err)

	listener, err := net.Listen("tcp", floating4.String()+":0")
	require.NoError(t, err)

	defer listener.Close()

	var client net.Conn

	w.in(t, w.peer, func() { client, err = net.Dial("tcp", listener.Addr().String()) })
	require.NoError(t, err)

	defer client.Close()

	server, err := listener.Accept()
	require.NoError(t, err)

	defer server.Close()

	require.NoError(t, Kernel{}.Remove(floating4))
	require.NoError(t, client.SetReadDeadline(time.Now().Add(5*time.Second)))

	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET, "the client must learn at once that its master is gone")
}

// A client whose connection nobody accepts hears nothing on MooseFS's ports, and
// a refusal on any other.
func TestDoor(t *testing.T) {
	newWire(t)

	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))

	_, err = Kernel{}.Add(floating4)
	require.NoError(t, err)

	door := Door{Floating: []netip.Addr{floating4, floating6}, First: 9419, Last: 9421, Requests: 9421}

	err = door.Open()
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no nftables")
	}

	require.NoError(t, err)
	require.NoError(t, door.Open(), "twice is no error")

	dial := func(address string) error {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err == nil {
			conn.Close()
		}

		return err
	}

	for _, address := range []string{"10.77.0.100:9419", "10.77.0.100:9421"} {
		require.ErrorContains(t, dial(address), "i/o timeout", address)
	}

	for _, address := range []string{"10.77.0.100:9418", "10.77.0.100:9422", "10.77.0.1:9421"} {
		require.ErrorIs(t, dial(address), unix.ECONNREFUSED, address)
	}

	// Where somebody listens nothing changes, and an abort reaches the peer.
	listener, err := net.Listen("tcp", "10.77.0.100:9421")
	require.NoError(t, err)

	defer listener.Close()

	client, err := net.Dial("tcp", "10.77.0.100:9421")
	require.NoError(t, err)

	defer client.Close()

	server, err := listener.Accept()
	require.NoError(t, err)
	// Held, a connection can be made, and requests don't come in.
	require.NoError(t, door.Hold())

	early, err := net.DialTimeout("tcp", "10.77.0.100:9421", time.Second)
	require.NoError(t, err)

	defer early.Close()

	held, err := listener.Accept()
	require.NoError(t, err)

	defer held.Close()

	_, err = early.Write([]byte{3})
	require.NoError(t, err)
	require.NoError(t, held.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = held.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, door.Open())
	require.NoError(t, held.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = held.Read(make([]byte, 1))
	require.NoError(t, err, "TCP has not forgotten it")

	// Closed, answers leave and requests don't come in; open again, they do: TCP
	// has not forgotten them.
	require.NoError(t, door.Close())

	_, err = client.Write([]byte{1})
	require.NoError(t, err)
	_, err = server.Write([]byte{2})
	require.NoError(t, err)

	answer := make([]byte, 1)
	require.NoError(t, client.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = client.Read(answer)
	require.NoError(t, err)
	require.Equal(t, []byte{2}, answer)

	require.NoError(t, server.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = server.Read(answer)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, door.Open())
	require.NoError(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = server.Read(answer)
	require.NoError(t, err)
	require.Equal(t, []byte{1}, answer)

	require.NoError(t, server.(*net.TCPConn).SetLinger(0))
	require.NoError(t, server.Close())

	require.NoError(t, client.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
}
