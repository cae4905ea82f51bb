package moosefs

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/resources"
)

type destroyed struct {
	remote netip.Addr
	since  time.Time
}

// ended is what was destroyed of the master's connections.
type ended struct {
	destroyed

	ports []uint16
}

// fakeSockets tells of what is destroyed, and counts what hastens.
type fakeSockets struct {
	ended    chan ended
	hastened atomic.Int32
}

func (f *fakeSockets) Destroy(remote netip.Addr, ports []uint16, since time.Time) (int, error) {
	f.ended <- ended{destroyed{remote, since}, ports}

	return 2, nil
}

func (f *fakeSockets) Hasten(netip.Addr, uint16, uint16) (io.Closer, error) {
	f.hastened.Add(1)

	return f, nil
}

func (f *fakeSockets) Close() error {
	f.hastened.Add(-1)

	return nil
}

func (*fakeSockets) Part(netip.Addr, []uint16, time.Time) (int, error) {
	return 0, errors.New("the master's address is not a machine's")
}

// fakeNeighbours is what they tell; forgotten counts what they are to forget.
type fakeNeighbours struct {
	machines  chan string
	forgotten atomic.Int32
}

func (f *fakeNeighbours) Watch(context.Context, netip.Addr) (<-chan string, error) {
	return f.machines, nil
}

func (f *fakeNeighbours) Forget(netip.Addr) error {
	f.forgotten.Add(1)

	return nil
}

func TestReconnectorFollowsTheSigns(t *testing.T) {
	sockets, neighbours := &fakeSockets{ended: make(chan ended, 1)}, &fakeNeighbours{machines: make(chan string)}
	asked := make(chan error)
	c := &Reconnector{Sockets: sockets, Hastener: sockets, Neighbours: neighbours, Events: &recordedEvents{}, Ask: func(ctx context.Context, master netip.AddrPort) error {
		assert.Equal(t, "10.0.0.100:9421", master.String())

		return <-asked
	}}
	ctx, st := startControllers(t, c)

	// What antlerd learns of at its start is no news: everybody is connected.
	record := authority.NewAuthorityStatus()
	record.TypedSpec().Epoch = 4
	require.NoError(t, st.Create(ctx, record))

	report := authority.NewNodeReport("n2")
	report.TypedSpec().Report.Master = authority.MasterReport{Answering: true, Epoch: 4}
	require.NoError(t, st.Create(ctx, report))

	neighbours.machines <- "02:00:00:00:00:01"

	// The network says so: what is to the floating address is stale.
	before := time.Now()
	neighbours.machines <- "02:00:00:00:00:02"
	got := <-sockets.ended
	assert.Equal(t, netip.MustParseAddr("10.0.0.100"), got.remote)
	assert.Equal(t, storagePorts, got.ports)
	assert.WithinRange(t, got.since, before.Add(-freshly), time.Now().Add(-freshly))

	// Nothing came before it, and clients wait until they are let in.
	assert.Empty(t, sockets.ended)

	asked <- errors.New("i/o timeout")
	asked <- nil

	clients := <-sockets.ended
	assert.Equal(t, clientPorts, clients.ports)
	assert.Equal(t, got.since, clients.since, "what was acknowledged meanwhile is the new master's")
	assert.Empty(t, sockets.ended)
	assert.Equal(t, int32(1), sockets.hastened.Load())
}

// A request that the master's door drops isn't what the clients' waiting depends on, however
// late it comes again.
func TestARequestThatIsDroppedDoesNotDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32

		began := time.Now()
		c := &Reconnector{Ask: func(ctx context.Context, _ netip.AddrPort) error {
			try := tries.Add(1)

			switch {
			case time.Since(began) >= time.Second:
				return nil
			case try == 2:
				return errors.New("no route to host")
			}

			<-ctx.Done()

			return ctx.Err()
		}}

		c.ask(t.Context(), netip.MustParseAddr("10.0.0.100"))
		assert.GreaterOrEqual(t, time.Since(began), time.Second, "neither an error nor silence is an answer")
		assert.LessOrEqual(t, time.Since(began), time.Second+askEvery)
		assert.LessOrEqual(t, tries.Load(), int32(6))

		// And it isn't waited for without end.
		c.Ask = func(ctx context.Context, _ netip.AddrPort) error { <-ctx.Done(); return ctx.Err() }
		again := time.Now()

		c.ask(t.Context(), netip.MustParseAddr("10.0.0.100"))
		assert.Equal(t, admission, time.Since(again))
	})
}

// Chunkservers are told when the epoch begins, and nobody who has heard of its master.
func TestChunkserversAreToldOfTheEpoch(t *testing.T) {
	ctx, st := startControllers(t)
	sockets := &fakeSockets{ended: make(chan ended, 1)}
	c := &Reconnector{Sockets: sockets, Neighbours: &fakeNeighbours{}, Events: &recordedEvents{}, heard: time.Now().Add(-time.Hour), epoch: 4}
	c.admitted, c.Ask = make(chan move), func(context.Context, netip.AddrPort) error { return nil }
	floating := netip.MustParseAddr("10.0.0.100")

	record := authority.NewAuthorityStatus()
	record.TypedSpec().Epoch = 5
	require.NoError(t, st.Create(ctx, record))

	for range 2 {
		require.NoError(t, c.pass(ctx, reader{st}, floating, "", zaptest.NewLogger(t)))
	}

	got := <-sockets.ended
	assert.Equal(t, []uint16{9419, 9420}, got.ports)
	assert.Empty(t, sockets.ended, "once")

	// By now they may be connected to its master, so its signs are for clients.
	require.NoError(t, st.Create(ctx, answering(5)))
	require.NoError(t, c.pass(ctx, reader{st}, floating, "", zaptest.NewLogger(t)))

	assert.Empty(t, sockets.ended)
	assert.Equal(t, "node n2 serves", (<-c.admitted).sign)

	_, err := safe.StateUpdateWithConflicts(ctx, st, record.Metadata(), func(r *authority.AuthorityStatus) error {
		r.TypedSpec().Epoch = 6

		return nil
	})
	require.NoError(t, err)

	require.NoError(t, c.pass(ctx, reader{st}, floating, "", zaptest.NewLogger(t)))

	// And the next epoch is like this one.
	require.Len(t, sockets.ended, 1)
	assert.Equal(t, storagePorts, (<-sockets.ended).ports)

	for _, machine := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02"} {
		c.looked = time.Now().Add(-time.Minute)
		require.NoError(t, c.pass(ctx, reader{st}, floating, machine, zaptest.NewLogger(t)))
	}

	assert.Equal(t, "the address moved", (<-c.admitted).sign)

	// Its network is cut, and the quorum's word comes long after its master's.
	c.looked = time.Now().Add(-time.Minute)
	require.NoError(t, c.pass(ctx, reader{st}, floating, "02:00:00:00:00:03", zaptest.NewLogger(t)))
	require.Len(t, sockets.ended, 1)
	assert.Equal(t, storagePorts, (<-sockets.ended).ports)
	assert.Equal(t, "the address moved", (<-c.admitted).sign)

	c.looked = time.Now().Add(-time.Minute)
	_, err = safe.StateUpdateWithConflicts(ctx, st, record.Metadata(), func(r *authority.AuthorityStatus) error {
		r.TypedSpec().Epoch = 7

		return nil
	})
	require.NoError(t, err)

	_, err = safe.StateUpdateWithConflicts(ctx, st, answering(5).Metadata(), func(r *authority.NodeReport) error {
		r.TypedSpec().Report.Master.Epoch = 7

		return nil
	})
	require.NoError(t, err)

	for range 2 {
		require.NoError(t, c.pass(ctx, reader{st}, floating, "", zaptest.NewLogger(t)))
	}

	assert.Empty(t, sockets.ended, "they are connected to the master of the epoch already")
}

func TestTheAddressMoves(t *testing.T) {
	floating := netip.MustParseAddr("10.0.0.100")
	neighbours := &fakeNeighbours{}
	c := &Reconnector{Neighbours: neighbours}

	for _, step := range []struct {
		name, machine string
		isHere, moved bool
	}{
		{"first seen", "one", false, false},
		{"same", "one", false, false},
		{"nothing", "", false, false},
		{"moved", "two", false, true},
		{"announced again", "two", false, false},
		{"comes to this node, which has a sign of its own", "", true, false},
		{"the kernel's old entry", "two", true, false},
		{"leaves", "", false, false},
		{"back at the one before", "two", false, true},
	} {
		assert.Equal(t, step.moved, c.moved(floating, step.machine, step.isHere, zaptest.NewLogger(t)), step.name)
	}

	assert.Equal(t, int32(1), neighbours.forgotten.Load(), "once it is here")
}

func answering(epoch uint64) *authority.NodeReport {
	report := authority.NewNodeReport("n2")
	report.TypedSpec().Report.Master = authority.MasterReport{Answering: true, Epoch: epoch}

	return report
}

func TestReconnectorSigns(t *testing.T) {
	ctx, st := startControllers(t)
	c := &Reconnector{}

	sign := func(moved bool) (time.Time, string) {
		t.Helper()

		local, err := resources.Spec[*address.AddressStatus](ctx, reader{st}, address.AddressStatusID)
		require.NoError(t, err)

		since, text, err := c.sign(ctx, reader{st}, local, moved)
		require.NoError(t, err)

		return since, text
	}

	_, text := sign(false)
	assert.Empty(t, text)

	record := authority.NewAuthorityStatus()
	record.TypedSpec().Epoch = 4
	require.NoError(t, st.Create(ctx, record))

	report := answering(4)
	require.NoError(t, st.Create(ctx, report))

	local := address.NewAddressStatus()
	local.TypedSpec().Announced, local.TypedSpec().Epoch = true, 4
	require.NoError(t, st.Create(ctx, local))

	_, text = sign(false)
	assert.Empty(t, text, "an antlerd that was restarted finds everybody connected")

	c.heard = time.Now().Add(-time.Hour)
	_, err := safe.StateUpdateWithConflicts(ctx, st, record.Metadata(), func(r *authority.AuthorityStatus) error {
		r.TypedSpec().Epoch = 5

		return nil
	})
	require.NoError(t, err)

	_, text = sign(false)
	assert.Empty(t, text, "granted, but it is the old master that answered")

	_, err = safe.StateUpdateWithConflicts(ctx, st, report.Metadata(), func(r *authority.NodeReport) error {
		r.TypedSpec().Report.Master.Epoch = 5

		return nil
	})
	require.NoError(t, err)

	c.began = time.Now().Add(-3 * time.Second)
	since, text := sign(false)
	first := c.looked

	assert.Equal(t, "node n2 serves", text)
	assert.Equal(t, c.began, since, "silent since the epoch began")

	_, text = sign(false)
	assert.Empty(t, text, "once is enough")

	since, text = sign(true)
	assert.Equal(t, "the address moved", text)
	assert.Equal(t, first, since, "connections made since the first sign are the new master's")

	_, err = safe.StateUpdateWithConflicts(ctx, st, local.Metadata(), func(r *address.AddressStatus) error {
		r.TypedSpec().Epoch = 6

		return nil
	})
	require.NoError(t, err)

	c.looked = time.Now().Add(-time.Hour)
	since, text = sign(false)
	assert.Equal(t, "the address came to this node", text)
	assert.Equal(t, freshly, c.looked.Sub(since))

	_, text = sign(false)
	assert.Empty(t, text)
}

func TestMachineOfANeighbour(t *testing.T) {
	floating := netip.MustParseAddr("10.0.0.100")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}

	update := func(ip string, mac net.HardwareAddr, kind uint16, state int) netlink.NeighUpdate {
		return netlink.NeighUpdate{Type: kind, Neigh: netlink.Neigh{IP: net.ParseIP(ip), HardwareAddr: mac, State: state}}
	}

	for _, step := range []struct {
		name   string
		update netlink.NeighUpdate
		want   string
	}{
		{"seen", update("10.0.0.100", mac, unix.RTM_NEWNEIGH, netlink.NUD_REACHABLE), "02:00:00:00:00:01"},
		{"long ago", update("10.0.0.100", mac, unix.RTM_NEWNEIGH, netlink.NUD_STALE), "02:00:00:00:00:01"},
		{"another address", update("10.0.0.7", mac, unix.RTM_NEWNEIGH, netlink.NUD_STALE), ""},
		{"failed", update("10.0.0.100", nil, unix.RTM_NEWNEIGH, netlink.NUD_FAILED), ""},
		{"asked for", update("10.0.0.100", nil, unix.RTM_NEWNEIGH, netlink.NUD_INCOMPLETE), ""},
		{"forgotten", update("10.0.0.100", mac, unix.RTM_DELNEIGH, netlink.NUD_STALE), ""},
	} {
		assert.Equal(t, step.want, machineOf(floating, step.update), step.name)
	}
}

// A real connection over the loopback device is ended by the kernel. It needs
// CAP_NET_ADMIN.
func TestDestroyEndsRealConnections(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)

	defer listener.Close()

	port := uint16(listener.Addr().(*net.TCPAddr).Port)

	conn, err := net.Dial("tcp4", listener.Addr().String())
	require.NoError(t, err)

	defer conn.Close()

	loopback := netip.MustParseAddr("127.0.0.1")

	count, err := HostSockets{}.Destroy(loopback, []uint16{port}, time.Now().Add(-time.Hour))
	if err != nil {
		t.Skipf("no sock_diag here: %v", err)
	}

	assert.Zero(t, count, "it was not silent for an hour")

	count, err = HostSockets{}.Destroy(loopback, []uint16{port + 1}, time.Now().Add(time.Hour))
	require.NoError(t, err)
	assert.Zero(t, count, "another port")

	count, err = HostSockets{}.Destroy(loopback, []uint16{port}, time.Now().Add(time.Hour))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("no SOCK_DESTROY here: %v", err)
	}

	require.NoError(t, err)
	require.Equal(t, 1, count)

	_, err = conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, unix.ECONNABORTED)
}

// reader lets a state be read as a controller reads it.
type reader struct{ state.State }

func (r reader) Get(ctx context.Context, p resource.Pointer, opts ...state.GetOption) (resource.Resource, error) {
	return r.State.Get(ctx, p, opts...)
}

func (r reader) List(ctx context.Context, k resource.Kind, opts ...state.ListOption) (resource.List, error) {
	return r.State.List(ctx, k, opts...)
}

func (r reader) ContextWithTeardown(ctx context.Context, p resource.Pointer) (context.Context, error) {
	return ctx, nil
}
