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

	antlerv1 "antler/api/antler/v1"
)

// busy is a machine that takes connections and has no time for a handshake.
type busy struct {
	address string
	dialed  atomic.Int32
}

func newBusy(t *testing.T) *busy {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })

	return &busy{address: listener.Addr().String()}
}

func (b *busy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	b.dialed.Add(1)

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
		client, err := p.client("n2")
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), briefly)
		_, err = client.Hello(ctx, &antlerv1.HelloRequest{})

		cancel()
		require.Error(t, err)
		p.drop("n2")
	}

	require.EqualValues(t, 1, n2.dialed.Load())
	require.NoError(t, p.conns["n2"].Close())
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

	require.LessOrEqual(t, n2.dialed.Load(), int32(1))
	require.NoError(t, s.Close())
}
