package replication

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/replication/handler"
)

func getenv(name string) string {
	return map[string]string{"DRBD_PEER_AF": "ipv4", "DRBD_PEER_ADDRESS": "10.0.0.2"}[name]
}

func newServer(t *testing.T, f Fencer) *HandlerServer {
	t.Helper()

	return &HandlerServer{
		Socket: filepath.Join(t.TempDir(), "drbd.sock"), Fencer: f, Events: &eventLog{}, Logger: zaptest.NewLogger(t),
		Peer: func(a netip.Addr) (string, bool) { return "n2", a == netip.MustParseAddr("10.0.0.2") },
	}
}

func serve(t *testing.T, s *HandlerServer) (stop func()) {
	t.Helper()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)

	go func() { done <- s.Run(ctx) }()

	stop = func() {
		cancel()
		require.NoError(t, <-done)
	}

	return stop
}

func TestTheHandlerAnswersWhatTheQuorumSays(t *testing.T) {
	f := fencer{make(chan error, 1)}
	server := newServer(t, f)

	defer serve(t, server)()

	f.answers <- nil

	assert.Equal(t, handler.Outdated, handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket))

	f.answers <- errors.New("epoch 3 is over")

	assert.Equal(t, handler.Refused, handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket))
}

func TestTheHandlerKnowsItsPeers(t *testing.T) {
	f := fencer{make(chan error, 1)}
	server := newServer(t, f)

	defer serve(t, server)()

	f.answers <- nil

	stranger := func(string) string { return "10.0.0.9" }
	assert.Equal(t, handler.Refused, handler.Main([]string{"fence-peer", "meta"}, stranger, server.Socket))
	assert.Equal(t, handler.Refused, handler.Main([]string{"fence-peer", "other"}, getenv, server.Socket))
	assert.Len(t, f.answers, 1, "the quorum was not asked")
}

// antlerd may be restarted at any moment: the handler waits for the next one.
func TestTheHandlerOutlivesAntlerd(t *testing.T) {
	f := fencer{make(chan error)}
	server := newServer(t, f)
	stop := serve(t, server)
	code := make(chan int, 1)

	go func() { code <- handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket) }()

	require.Eventually(t, server.Fencing, 10*time.Second, time.Millisecond)
	stop()
	assert.Empty(t, code, "an antlerd that goes away gives no answer")

	defer serve(t, server)()

	f.answers <- nil

	assert.Equal(t, handler.Outdated, <-code)
}

func TestTheSocketIsRootsOnly(t *testing.T) {
	server := newServer(t, fencer{})

	listener, err := server.listen(t.Context())
	require.NoError(t, err)
	require.NoError(t, listener.Close())

	// What a killed antlerd left is no obstacle.
	left, err := net.Listen("unix", server.Socket)
	require.NoError(t, err)
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, left.Close())

	listener, err = server.listen(t.Context())
	require.NoError(t, err)
	require.NoError(t, listener.Close())
}

// While this node leaves the primary role by force nobody is outdated for it.
func TestTheHandlerIsRefused(t *testing.T) {
	f := fencer{make(chan error, 1)}
	server := newServer(t, f)

	defer serve(t, server)()

	code := make(chan int, 1)

	go func() { code <- handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket) }()

	require.Eventually(t, server.Fencing, 10*time.Second, time.Millisecond)
	server.Refuse(true)
	assert.Equal(t, handler.Refused, <-code, "what was being asked")

	f.answers <- nil

	assert.Equal(t, handler.Refused, handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket))
	require.Eventually(t, func() bool { return !server.Fencing() }, 10*time.Second, time.Millisecond)

	server.Refuse(false)
	assert.Equal(t, handler.Outdated, handler.Main([]string{"fence-peer", "meta"}, getenv, server.Socket))
}
