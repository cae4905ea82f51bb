package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// overheard are credentials whose connections keep what is sent, as it is before it is
// encrypted.
type overheard struct {
	credentials.TransportCredentials
	mu   sync.Mutex
	sent bytes.Buffer
}

func (o *overheard) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := o.TransportCredentials.ClientHandshake(ctx, authority, raw)

	return overheardConn{conn, o}, info, err
}

func (o *overheard) Clone() credentials.TransportCredentials { return o }

// frames counts what was sent, by type.
func (o *overheard) frames(t *testing.T) map[http2.FrameType]int {
	t.Helper()

	o.mu.Lock()
	defer o.mu.Unlock()

	sent, found := bytes.CutPrefix(o.sent.Bytes(), []byte(http2.ClientPreface))
	require.True(t, found)

	counts := map[http2.FrameType]int{}
	framer := http2.NewFramer(io.Discard, bytes.NewReader(sent))

	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			return counts
		}

		require.NoError(t, err)
		counts[frame.Header().Type]++
	}
}

type overheardConn struct {
	net.Conn
	by *overheard
}

func (c overheardConn) Write(b []byte) (int, error) {
	c.by.mu.Lock()
	c.by.sent.Write(b)
	c.by.mu.Unlock()

	return c.Conn.Write(b)
}

// Renewals are sent all day: with a call goes nothing about the connection.
func TestACallBetweenNodesIsNoPing(t *testing.T) {
	const calls = 20

	peers := newCluster(t).node("n1").server.peers
	heard := &overheard{TransportCredentials: peers.creds("n2")}
	peers.creds = func(string) credentials.TransportCredentials { return heard }

	conn, err := peers.to("n2")
	require.NoError(t, err)

	for range calls {
		_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
		require.NoError(t, err)
	}

	sent := heard.frames(t)
	require.Equal(t, calls, sent[http2.FrameData])
	require.Zero(t, sent[http2.FramePing])
}
