package moosefs

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"antler/services/address"
	"antler/services/authority"
)

type destroyed struct {
	remote netip.Addr
	since  time.Time
}

type fakeSockets chan destroyed

func (f fakeSockets) Destroy(remote netip.Addr, ports []uint16, since time.Time) (int, error) {
	if len(ports) != 3 {
		return 0, errors.New("three ports are the master's")
	}

	f <- destroyed{remote, since}

	return 2, nil
}

func (fakeSockets) Part(netip.Addr, []uint16, time.Time) (int, error) {
	return 0, errors.New("the master's address is not a machine's")
}

type fakeNeighbours chan struct{}

func (f fakeNeighbours) Moves(context.Context, netip.Addr) (<-chan struct{}, error) { return f, nil }

func TestReconnectorFollowsTheSigns(t *testing.T) {
	sockets, moves := make(fakeSockets, 1), make(fakeNeighbours)
	events := &recordedEvents{}
	c := &Reconnector{Sockets: sockets, Neighbours: moves, Events: events}
	ctx, st := startControllers(t, c)

	// What antlerd learns of at its start is no news: everybody is connected.
	record := authority.NewAuthorityStatus()
	record.TypedSpec().Epoch = 4
	require.NoError(t, st.Create(ctx, record))

	report := authority.NewNodeReport("n2")
	report.TypedSpec().Report.Master = authority.MasterReport{Answering: true, Epoch: 4}
	require.NoError(t, st.Create(ctx, report))

	// The network says so: what is to the floating address is stale.
	before := time.Now()
	moves <- struct{}{}
	got := <-sockets
	assert.Equal(t, netip.MustParseAddr("10.0.0.100"), got.remote)
	assert.WithinRange(t, got.since, before.Add(-freshly), time.Now().Add(-freshly))

	// Nothing came before it.
	assert.Empty(t, sockets)
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

		since, text, err := c.sign(ctx, reader{st}, moved)
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

func TestNeighbourMoves(t *testing.T) {
	floating := netip.MustParseAddr("10.0.0.100")
	old, moved := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}

	update := func(ip string, mac net.HardwareAddr, kind uint16, state int) netlink.NeighUpdate {
		return netlink.NeighUpdate{Type: kind, Neigh: netlink.Neigh{IP: net.ParseIP(ip), HardwareAddr: mac, State: state}}
	}

	var last net.HardwareAddr

	for _, step := range []struct {
		name   string
		update netlink.NeighUpdate
		moved  bool
	}{
		{"first seen", update("10.0.0.100", old, unix.RTM_NEWNEIGH, netlink.NUD_REACHABLE), false},
		{"same", update("10.0.0.100", old, unix.RTM_NEWNEIGH, netlink.NUD_STALE), false},
		{"another address", update("10.0.0.7", moved, unix.RTM_NEWNEIGH, netlink.NUD_STALE), false},
		{"failed", update("10.0.0.100", nil, unix.RTM_NEWNEIGH, netlink.NUD_FAILED), false},
		{"forgotten", update("10.0.0.100", old, unix.RTM_DELNEIGH, netlink.NUD_STALE), false},
		{"moved", update("10.0.0.100", moved, unix.RTM_NEWNEIGH, netlink.NUD_STALE), true},
		{"announced again", update("10.0.0.100", moved, unix.RTM_NEWNEIGH, netlink.NUD_STALE), false},
	} {
		var got bool

		last, got = follow(last, floating, step.update)
		assert.Equal(t, step.moved, got, step.name)
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
