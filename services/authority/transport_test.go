package authority

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCloseWaitsForWhoAnswers: Raft answers on each connection in a goroutine that
// nobody else waits for, and writes to the store meanwhile. A store that is closed
// under it would end antlerd with a panic.
func TestCloseWaitsForWhoAnswers(t *testing.T) {
	life, stop := context.WithCancel(t.Context())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	s := &stream{Listener: listener, ready: make(chan net.Conn), stop: stop, done: life.Done(), close: sync.OnceValue(listener.Close)}

	ours, theirs := net.Pipe()
	defer theirs.Close()

	conn := s.accepted(life, tls.Server(ours, &tls.Config{}))
	answered := false

	go func() {
		_, err := conn.Read(make([]byte, 1)) // until Close ends the connection
		answered = errors.Is(err, io.EOF)    // what is still written to the store
		_ = conn.Close()
	}()

	require.NoError(t, s.Close())
	require.True(t, answered)
	require.NoError(t, conn.Close(), "a second time changes nothing")
}
