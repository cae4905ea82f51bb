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

	assert.Equal(t, exitOutdated, HandlerMain([]string{"fence-peer", "meta"}, getenv, server.Socket))

	f.answers <- errors.New("epoch 3 is over")

	assert.Equal(t, exitRefused, HandlerMain([]string{"fence-peer", "meta"}, getenv, server.Socket))
}

func TestTheHandlerKnowsItsPeers(t *testing.T) {
	f := fencer{make(chan error, 1)}
	server := newServer(t, f)

	defer serve(t, server)()

	f.answers <- nil

	stranger := func(string) string { return "10.0.0.9" }
	assert.Equal(t, exitRefused, HandlerMain([]string{"fence-peer", "meta"}, stranger, server.Socket))
	assert.Equal(t, exitRefused, HandlerMain([]string{"fence-peer", "other"}, getenv, server.Socket))
	assert.Len(t, f.answers, 1, "the quorum was not asked")
}

// antlerd may be restarted at any moment: the handler waits for the next one.
func TestTheHandlerOutlivesAntlerd(t *testing.T) {
	f := fencer{make(chan error)}
	server := newServer(t, f)
	stop := serve(t, server)
	code := make(chan int, 1)

	go func() { code <- HandlerMain([]string{"fence-peer", "meta"}, getenv, server.Socket) }()

	require.Eventually(t, server.Fencing, 10*time.Second, time.Millisecond)
	stop()
	assert.Empty(t, code, "an antlerd that goes away gives no answer")

	defer serve(t, server)()

	f.answers <- nil

	assert.Equal(t, exitOutdated, <-code)
}

func TestTheHandlerGivesUpRefusing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()

	assert.Equal(t, exitRefused, askAntlerd(ctx, filepath.Join(t.TempDir(), "none"), "fence-peer meta ipv4 10.0.0.2\n"))
}

func TestOtherHandlersOnlyTell(t *testing.T) {
	for _, name := range []string{"split-brain", "before-resync-target", "pri-on-incon-degr"} {
		assert.True(t, IsHandler(name))
		assert.Zero(t, HandlerMain([]string{name, "minor-0"}, getenv, "/nowhere"))
	}

	for _, name := range []string{"", "serve", "--config"} {
		assert.False(t, IsHandler(name))
	}
}

// Whatever comes over the socket, only 4 lets writes go on.
func FuzzParseAnswer(f *testing.F) {
	for _, line := range []string{"4\n", "1 not the holder\n", "7\n", "5\n", "44\n", "", "4x"} {
		f.Add(line)
	}

	f.Fuzz(func(t *testing.T, line string) {
		code, err := parseAnswer(line)
		if err == nil && code != exitOutdated && code != exitRefused {
			t.Errorf("%q gave %d", line, code)
		}
	})
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
