package authority

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stream is Raft's connections: TLS in both directions, and the name in the
// other side's certificate is the node's that was meant to be called.
type stream struct {
	net.Listener

	dial   dial
	self   raft.ServerAddress // as the others know this node
	client *tls.Config
	names  map[raft.ServerAddress]string
	timing Timing

	ready chan net.Conn
	// spare has a connection that is ready to each voter, see keepReady.
	spare map[raft.ServerAddress]*spare
	// dialing ends before Raft does, which waits for what it has asked of others.
	dialing    context.Context
	dialNoMore context.CancelFunc

	stop  context.CancelFunc
	close func() error
	done  <-chan struct{}
	// wg counts what runs here, and the connections that Raft has accepted.
	wg sync.WaitGroup
}

var _ raft.StreamLayer = (*stream)(nil)

// dial makes a connection.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// within gives up where nobody answers at all.
func (d dial) within(ctx context.Context, timeout time.Duration, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	return d(ctx, "tcp", address)
}

// newStream accepts connections on the listener until it is closed.
func newStream(p quorumParts) *stream {
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{
		Listener: p.listener, dial: p.dial, client: p.client,
		self: raft.ServerAddress(p.self.RaftAddress), names: p.names(), timing: p.timing,
		ready: make(chan net.Conn), spare: map[raft.ServerAddress]*spare{}, stop: stop, done: ctx.Done(),
	}

	s.dialing, s.dialNoMore = context.WithCancel(ctx)

	for address := range s.names {
		// The only voter there is never has to tell itself anything.
		if address == s.self && len(s.names) == 1 {
			continue
		}

		s.spare[address] = newSpare()
	}

	// Raft closes it, and so does who made it.
	s.close = sync.OnceValue(s.Listener.Close)
	s.wg.Go(func() { s.accept(ctx, p.server) })

	for address := range s.spare {
		s.wg.Go(func() { s.keepReady(s.dialing, address) })
	}

	return s
}

func (s *stream) accept(ctx context.Context, config *tls.Config) {
	for {
		conn, err := s.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}

			return
		}

		if err != nil {
			// Out of file descriptors, most likely: it passes.
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}

		s.wg.Go(func() { s.handshake(ctx, tls.Server(conn, config)) })
	}
}

// handshake happens before Raft sees the connection: Raft would wait for the
// first byte without a limit.
func (s *stream) handshake(life context.Context, conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(life, s.timing.HandshakeTimeout)
	defer cancel()

	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the caller sees why, and logs it

		return
	}

	accepted := s.accepted(life, conn)

	select {
	case s.ready <- accepted:
	case <-s.done:
		_ = accepted.Close()
	}
}

// acceptedConn is a connection on which Raft answers another voter.
type acceptedConn struct {
	net.Conn

	ended func() error
	close func() error
}

// accepted counts the connection until whoever answers on it is done with it.
// The end of the stream ends it, but does not count as that: Raft writes to the
// store while it answers.
func (s *stream) accepted(life context.Context, conn *tls.Conn) acceptedConn {
	s.wg.Add(1)

	hangUp := context.AfterFunc(life, func() { _ = conn.NetConn().Close() })

	return acceptedConn{conn, life.Err, sync.OnceValue(func() error {
		defer s.wg.Done()

		hangUp()

		return conn.Close()
	})}
}

// Read implements net.Conn. The end of the stream is none of the other side's faults,
// which Raft would log.
func (c acceptedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.ended() != nil {
		err = io.EOF
	}

	return n, err
}

// Close implements net.Conn.
func (c acceptedConn) Close() error { return c.close() }

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.ready:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener. Raft tells it to the others as this node's, so
// it is never the unspecified address that the listener may be bound to.
func (s *stream) Addr() net.Addr { return advertised(s.self) }

// advertised is an address as the configuration has it.
type advertised raft.ServerAddress

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }

// Close implements net.Listener. When it returns nobody answers any more: the
// store may be closed.
func (s *stream) Close() error {
	s.stop()
	err := s.close()
	s.wg.Wait()

	return err
}

// connect to the voter, and see that it is who it should be.
func (s *stream) connect(ctx context.Context, address raft.ServerAddress) (net.Conn, error) {
	name := s.names[address]
	config := s.client.Clone()
	config.ServerName = name

	plain, err := s.dial.within(ctx, s.timing.ConnectTimeout, string(address))
	if err != nil {
		return nil, fmt.Errorf("dial Raft of %s at %s: %w", name, address, err)
	}

	ctx, cancel := context.WithTimeout(ctx, s.timing.HandshakeTimeout)
	defer cancel()

	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dial Raft of %s at %s: %w", name, address, err), plain.Close())
	}

	return conn, nil
}
