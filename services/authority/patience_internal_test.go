package authority

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// busy is a machine that takes connections and has no time for a handshake.
type busy struct {
	address string
	dialed  atomic.Int32
	// called has an entry once somebody has.
	called chan struct{}
}

func newBusy(t *testing.T) *busy {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })

	return &busy{address: listener.Addr().String(), called: make(chan struct{}, 10)}
}

func (b *busy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	b.dialed.Add(1)
	b.called <- struct{}{}

	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// briefly is less than a handshake with a busy machine takes.
const briefly = 20 * time.Millisecond

// With each handshake begun anew a busy machine would be busier.
func TestCallsWaitForTheHandshakeUnderWay(t *testing.T) {
	n2 := newBusy(t)
	p := newPeers(Config{
		ClientTLS: &tls.Config{MinVersion: tls.VersionTLS13}, Dial: n2.dial, Timing: DefaultTiming(), Members: []Member{{Name: "n2", Address: n2.address}},
	})

	for range 3 {
		n2, err := p.call("n2")
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), briefly)
		_, err = n2.Hello(ctx, &antlerv1.HelloRequest{})

		cancel()
		require.Error(t, err)
		n2.failed(err)
	}

	<-n2.called
	require.EqualValues(t, 1, n2.dialed.Load())
	require.NoError(t, p.conns["n2"].Close())
}

// A machine whose power was cut answers nothing, and nothing says that it is gone.
func TestAConnectionOnWhichNobodyAnswersIsGivenUp(t *testing.T) {
	late, refused := status.Error(codes.DeadlineExceeded, "no answer"), status.Error(codes.Unavailable, "this node doesn't lead")

	for name, tc := range map[string]struct {
		ready bool
		err   error
		kept  bool
	}{
		"nobody answers":                    {true, late, false},
		"it was still being made":           {false, late, true},
		"the answer was no":                 {true, refused, true},
		"somebody else was to be asked now": {true, status.Error(codes.Canceled, ""), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeers(Config{ClientTLS: &tls.Config{MinVersion: tls.VersionTLS13}, Members: []Member{{Name: "n2", Address: "127.0.0.1:1"}}})

			c, err := p.call("n2")
			require.NoError(t, err)

			c.ready = tc.ready
			c.failed(tc.err)
			require.Equal(t, tc.kept, p.conns["n2"] == c.conn)

			// Nor does a late word about the one before end the next.
			next, err := p.call("n2")
			require.NoError(t, err)

			c.ready = c.conn != next.conn
			c.failed(late)
			require.Same(t, next.conn, p.conns["n2"])
			require.NoError(t, next.conn.Close())
		})
	}
}

func TestRaftWaitsForTheHandshakeUnderWay(t *testing.T) {
	n2 := newBusy(t)
	own, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	s := newStream(quorumParts{
		listener: own, dial: n2.dial, client: &tls.Config{MinVersion: tls.VersionTLS13},
		self:   Member{Name: "n1", RaftAddress: own.Addr().String()},
		timing: DefaultTiming(),
		voters: []Member{{Name: "n2", RaftAddress: n2.address}},
	})

	for range 3 {
		_, err = s.Dial(raft.ServerAddress(n2.address), briefly)
		require.ErrorContains(t, err, "no connection within")
	}

	<-n2.called
	require.EqualValues(t, 1, n2.dialed.Load())

	// Nor does the end wait for a voter that doesn't answer.
	s.dialNoMore()

	_, err = s.Dial(raft.ServerAddress(n2.address), time.Hour)
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, s.Close())
}
