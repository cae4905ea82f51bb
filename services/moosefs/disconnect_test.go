package moosefs

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"antler/services/authority"
	"antler/services/replication"
)

// fakeMachines counts how often they are asked; those that are not up take their time.
type fakeMachines struct {
	mu    sync.Mutex
	up    map[netip.Addr]bool
	asked int
}

func (f *fakeMachines) Gone(ctx context.Context, ip netip.Addr) bool {
	f.mu.Lock()
	f.asked++
	up := f.up[ip]
	f.mu.Unlock()

	if up {
		return false
	}

	select {
	case <-ctx.Done():
		return false
	case <-time.After(answerTime):
		return true
	}
}

// partedSockets notes whose connections were ended.
type partedSockets chan destroyed

func (partedSockets) Destroy(netip.Addr, []uint16, time.Time) (int, error) {
	return 0, errors.New("this is not about the master's address")
}

func (p partedSockets) Part(remote netip.Addr, ports []uint16, since time.Time) (int, error) {
	if len(ports) != 2 {
		return 0, errors.New("two ports are the chunkservers'")
	}

	p <- destroyed{remote, since}

	return 3, nil
}

var peerAddress = netip.MustParseAddr("10.77.0.1") // n2 in testConfig

func TestDisconnectorEndsWhatAMachineThatIsGoneHas(t *testing.T) {
	// Room for as often as a slow machine lets it ask.
	sockets, events := make(partedSockets, 100), &recordedEvents{}
	ctx, st := startControllers(t, &Disconnector{Sockets: sockets, Machines: &fakeMachines{}, Events: events})

	for _, name := range []string{"n1", "n2", "stranger"} { // the first is this node
		require.NoError(t, st.Create(ctx, authority.NewNodeReport(name)))
	}

	require.Equal(t, peerAddress, (<-sockets).remote)
	require.Eventually(t, func() bool {
		return strings.HasPrefix(events.text(),
			"chunkservers.disconnected: n2 does not answer: ended 3 connections with it, of chunkservers")
	}, time.Second, time.Millisecond)
}

func TestDisconnectorSuspects(t *testing.T) {
	ctx, st := startControllers(t)
	c := &Disconnector{}

	suspects := func() map[string]suspicion {
		t.Helper()

		found, err := c.suspected(ctx, reader{st})
		require.NoError(t, err)

		return found
	}

	require.Empty(t, suspects(), "nothing is known yet")

	report := authority.NewNodeReport("n2")
	report.TypedSpec().Alive = true
	require.NoError(t, st.Create(ctx, report))
	require.Empty(t, suspects())

	spec, status := replication.NewReplicaSpec(), replication.NewReplicaStatus()
	spec.TypedSpec().Peer = "n2"
	status.TypedSpec().Phase, status.TypedSpec().Connection = replication.PhaseUp, replication.Connected
	require.NoError(t, st.Create(ctx, spec))
	require.NoError(t, st.Create(ctx, status))
	require.Empty(t, suspects())

	_, err := safe.StateUpdateWithConflicts(ctx, st, status.Metadata(), func(r *replication.ReplicaStatus) error {
		r.TypedSpec().Connection = "Connecting"

		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]suspicion{"n2": {address: peerAddress, unlinked: true}}, suspects(), "the replica's link is gone, whatever the quorum hears")

	_, err = safe.StateUpdateWithConflicts(ctx, st, status.Metadata(), func(r *replication.ReplicaStatus) error {
		r.TypedSpec().Phase = replication.PhaseDown

		return nil
	})
	require.NoError(t, err)
	require.Empty(t, suspects(), "a replica that is down has no link to lose")

	_, err = safe.StateUpdateWithConflicts(ctx, st, report.Metadata(), func(r *authority.NodeReport) error {
		r.TypedSpec().Alive = false

		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]suspicion{"n2": {address: peerAddress, unheard: true}}, suspects(), "the quorum does not hear of it")
}

func TestDisconnectorAsksLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sockets, events := make(partedSockets, 1), &recordedEvents{}
		machines := &fakeMachines{up: map[netip.Addr]bool{peerAddress: true}}
		c := &Disconnector{Sockets: sockets, Machines: machines, Events: events}
		logger := zaptest.NewLogger(t)
		alone := map[string]suspicion{"n2": {address: peerAddress, unlinked: true}}
		begun := time.Now()

		var asked []time.Duration

		for range 8 {
			c.note(alone, time.Now())
			c.ask(t.Context(), logger)
			c.ask(t.Context(), logger) // not due

			asked = append(asked, time.Since(begun))
			next, some := c.next()
			require.True(t, some)
			time.Sleep(time.Until(next))
		}

		assert.Equal(t, 8, machines.asked)
		assert.Equal(t, []time.Duration{0, 1e9, 2e9, 3e9, 4.5e9, 6.75e9, 10.125e9, 15.1875e9}, asked)
		assert.Empty(t, sockets, "it answered each time")

		// Its power is cut while it is suspect, and the quorum tells: that is asked about at once.
		c.ask(t.Context(), logger)

		machines.up = nil
		at := time.Now()
		c.note(map[string]suspicion{"n2": {address: peerAddress, unlinked: true, unheard: true}}, at)
		c.ask(t.Context(), logger)
		assert.Equal(t, destroyed{peerAddress, at}, <-sockets, "what is not silent since then stays")

		// Nobody says that it was back for a while: it is asked again all the same.
		next, some := c.next()
		require.True(t, some)
		time.Sleep(time.Until(next))
		c.ask(t.Context(), logger)
		assert.Equal(t, peerAddress, (<-sockets).remote)

		c.note(nil, time.Now())

		_, some = c.next()
		assert.False(t, some)
	})
}

func TestMachineThatSaysSomethingIsThere(t *testing.T) {
	nobodyListens := netip.MustParseAddr("127.0.0.1")
	require.False(t, HostMachines{}.Gone(t.Context(), nobodyListens))

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, HostMachines{}.Gone(cancelled, nobodyListens))

	// What this machine says itself: the address is no host's (EACCES or ENETUNREACH).
	require.False(t, HostMachines{}.Gone(t.Context(), netip.MustParseAddr("255.255.255.255")))
}

// A master's connection with a chunkserver that called it: its own end is at the port.
func TestPartEndsConnectionsThatTheOtherSideMade(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)

	defer listener.Close()

	caller := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}

	conn, err := caller.DialContext(t.Context(), "tcp4", listener.Addr().String())
	require.NoError(t, err)

	defer conn.Close()

	accepted, err := listener.Accept()
	require.NoError(t, err)

	defer accepted.Close()

	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	remote := netip.MustParseAddr("127.0.0.2")

	count, err := HostSockets{}.Destroy(remote, []uint16{port}, time.Now().Add(time.Hour))
	if err != nil {
		t.Skipf("no sock_diag here: %v", err)
	}

	require.Zero(t, count, "the other end's port is another")

	count, err = HostSockets{}.Part(remote, []uint16{port}, time.Now().Add(time.Hour))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("no SOCK_DESTROY here: %v", err)
	}

	require.NoError(t, err)
	require.Equal(t, 1, count)

	_, err = accepted.Read(make([]byte, 1))
	assert.ErrorIs(t, err, unix.ECONNABORTED)
}
