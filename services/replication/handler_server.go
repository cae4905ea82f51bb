package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.uber.org/zap"

	"antler/services/replication/handler"
)

// HandlerServer answers DRBD's fence-peer handler, which the kernel runs as a
// process of its own (package handler), over a unix socket: one line in, one line
// out.
//
//	fence-peer meta ipv4 10.0.0.2
//	4
//
// A connection that ends without an answer means that antlerd goes away: the
// handler comes back to the next one.
type HandlerServer struct {
	// Socket is handler.Socket but in tests.
	Socket string
	Fencer Fencer
	// Peer gives the name of the node with an address.
	Peer func(netip.Addr) (string, bool)
	// OnlyPeer is the other metadata node.
	OnlyPeer string
	Events   Events
	Logger   *zap.Logger

	mu sync.Mutex
	// calls are ended by their functions.
	calls    map[net.Conn]context.CancelCauseFunc
	refusing bool
}

// Fencing implements Handler.
func (s *HandlerServer) Fencing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return len(s.calls) > 0
}

// errRefusing is the cause of a no that is not the quorum's.
var errRefusing = errors.New("this node is on its way out of the primary role")

// Refuse implements Handler.
func (s *HandlerServer) Refuse(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.refusing = refuse

	if refuse {
		for _, end := range s.calls {
			end(errRefusing)
		}
	}
}

// begin notes a call that end ends.
func (s *HandlerServer) begin(conn net.Conn, end context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.calls == nil {
		s.calls = map[net.Conn]context.CancelCauseFunc{}
	}

	s.calls[conn] = end

	if s.refusing {
		end(errRefusing)
	}
}

// over notes that it has ended.
func (s *HandlerServer) over(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()

	delete(s.calls, conn)
}

// Run answers calls until ctx ends.
func (s *HandlerServer) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return fmt.Errorf("listen for DRBD's handler on %s: %w", s.Socket, err)
	}

	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()

	var calls sync.WaitGroup
	defer calls.Wait()

	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}

		if err != nil {
			return fmt.Errorf("wait for DRBD's handler on %s: %w", s.Socket, err)
		}

		calls.Go(func() { s.serve(ctx, conn) })
	}
}

func (s *HandlerServer) listen(ctx context.Context) (net.Listener, error) {
	err := os.MkdirAll(filepath.Dir(s.Socket), 0o755)
	if err != nil {
		return nil, err
	}

	// What an antlerd before this one left.
	err = os.Remove(s.Socket)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "unix", s.Socket)
	if err != nil {
		return nil, err
	}

	err = os.Chmod(s.Socket, 0o600)
	if err != nil {
		listener.Close()

		return nil, err
	}

	return listener, nil
}

func (s *HandlerServer) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()

	// antlerd's end is no answer.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	line, err := bufio.NewReader(io.LimitReader(conn, 512)).ReadString('\n')
	if err != nil {
		return
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	s.begin(conn, cancel)
	defer s.over(conn)

	// The handler sends no more: reading ends when it does, and there is nobody
	// to answer then.
	go func() {
		_, _ = conn.Read(make([]byte, 1))
		cancel(nil)
	}()

	if ctx.Err() == nil {
		err = s.answer(ctx, line)
	}

	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errRefusing):
		err = cause
	case cause != nil:
		return
	}

	if err != nil {
		s.Logger.Warn("peer is not outdated, I/O stays frozen", zap.Error(err))
		fmt.Fprintf(conn, "%d %s\n", handler.Refused, strings.Join(strings.Fields(err.Error()), " "))

		return
	}

	fmt.Fprintf(conn, "%d\n", handler.Outdated)
}

// answer returns nil only when the quorum has recorded that the peer is outdated.
func (s *HandlerServer) answer(ctx context.Context, line string) error {
	peer, err := s.asked(line)
	if err != nil {
		return fmt.Errorf("answer DRBD's handler: %w", err)
	}

	s.Logger.Info("DRBD lost its peer: asking the quorum to outdate it", zap.String("peer", peer))

	return s.Fencer.Outdate(ctx, peer)
}

// asked returns the peer that a question is about. While there is no connection
// (promoting with the peer gone) DRBD names none: there is only the one.
func (s *HandlerServer) asked(line string) (string, error) {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != handler.FencePeer || words[1] != resourceName {
		return "", fmt.Errorf("%q is no question we know", strings.TrimSpace(line))
	}

	if len(words) == 2 && s.OnlyPeer != "" {
		return s.OnlyPeer, nil
	}

	if len(words) != 4 {
		return "", fmt.Errorf("%q names no peer", strings.TrimSpace(line))
	}

	address, err := netip.ParseAddr(words[3])
	if err != nil {
		return "", err
	}

	peer, found := s.Peer(address.Unmap())
	if !found {
		return "", fmt.Errorf("no node of the cluster has the address %s: see that the configuration is the same everywhere", address)
	}

	return peer, nil
}
