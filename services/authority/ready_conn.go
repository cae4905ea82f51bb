package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A survivor of the leader's death has to ask the others for their votes at once.
// A TLS handshake takes a small machine longer than everything else about an
// election, so one connection to each voter is kept ready; also to this node itself,
// which may tell itself to stand (stand.go).

// readyConn is a connection that nobody uses yet.
type readyConn struct {
	net.Conn
	// ended is closed when the reader has ended, err is why.
	ended chan struct{}
	err   error
}

// newReadyConn watches over the connection: the other side sends nothing before
// it is asked, so whatever a read returns is the end.
func newReadyConn(conn net.Conn) *readyConn {
	r := &readyConn{Conn: conn, ended: make(chan struct{})}

	go func() {
		defer close(r.ended)

		_, r.err = conn.Read(make([]byte, 1))
	}()

	return r
}

// take ends the watch, and reports whether the connection can be used.
func (r *readyConn) take() bool {
	err := r.SetReadDeadline(time.Unix(1, 0))
	<-r.ended

	if err != nil || !errors.Is(r.err, os.ErrDeadlineExceeded) {
		_ = r.Close()

		return false
	}

	return r.SetReadDeadline(time.Time{}) == nil
}

// retryReady is the pause after a voter could not be reached, or hung up.
const retryReady = 500 * time.Millisecond

// spare is where connections to a voter are made, one after the other.
type spare struct {
	ready chan *readyConn
	// trouble is why the last attempt failed; nil if it didn't.
	trouble atomic.Pointer[error]
}

func newSpare() *spare { return &spare{ready: make(chan *readyConn)} }

// keepReady has a connection to the voter ready until ctx ends.
func (s *stream) keepReady(ctx context.Context, address raft.ServerAddress) {
	for ctx.Err() == nil {
		conn, err := s.connect(ctx, address)
		s.spare[address].tried(err)

		if err == nil && s.offer(ctx, address, conn) {
			continue
		}

		select {
		case <-ctx.Done():
		case <-time.After(retryReady):
		}
	}
}

func (p *spare) tried(err error) {
	if err == nil {
		p.trouble.Store(nil)
	} else {
		p.trouble.Store(&err)
	}
}

// late is why there is no connection yet.
func (p *spare) late() error {
	if err := p.trouble.Load(); err != nil {
		return *err
	}

	return os.ErrDeadlineExceeded
}

// offer the connection until it is taken; false if it ended before.
func (s *stream) offer(ctx context.Context, address raft.ServerAddress, conn net.Conn) bool {
	ready := newReadyConn(conn)

	select {
	case s.spare[address].ready <- ready:
		return true
	case <-ready.ended:
	case <-ctx.Done():
	}

	_ = conn.Close()

	return false
}

// Dial implements raft.StreamLayer: it waits for what keepReady makes. To give up a
// handshake that takes a busy machine long, and begin another, would keep it busy.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	spare, known := s.spare[address]
	if !known {
		return nil, fmt.Errorf("dial Raft at %s: no voter of the configuration has this address", address)
	}

	deadline := time.NewTimer(timeout)
	defer deadline.Stop()

	for {
		select {
		case ready := <-spare.ready:
			if ready.take() {
				return ready.Conn, nil
			}
		case <-s.dialing.Done():
			return nil, net.ErrClosed
		case <-deadline.C:
			return nil, fmt.Errorf("no connection within %s: %w", timeout, spare.late())
		}
	}
}
