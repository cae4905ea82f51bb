package authority

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// window is the flow control window of a connection, in bytes: gRPC's own first one. What
// nodes tell each other is a hundredth of it.
const window = 64 << 10

// peers are the connections to the other nodes' PeerService.
type peers struct {
	tls     *tls.Config
	dial    dial
	timing  Timing
	members map[string]string // address by name

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
	// unmoved ends when another node may have become leader.
	unmoved context.Context
	moved   context.CancelFunc
}

func newPeers(c Config) *peers {
	p := &peers{
		tls: c.ClientTLS, dial: c.Dial, timing: c.Timing,
		members: map[string]string{}, conns: map[string]*grpc.ClientConn{},
	}
	p.unmoved, p.moved = context.WithCancel(context.Background())

	for _, m := range c.Members {
		p.members[m.Name] = m.Address
	}

	return p
}

// call is a call's connection, as it was when the call began.
type call struct {
	antlerv1.PeerServiceClient

	peers *peers
	name  string
	conn  *grpc.ClientConn
	// ready: the connection was made.
	ready bool
}

// call the node. It connects on the first call.
func (p *peers) call(name string) (*call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	conn, known := p.conns[name]
	if !known {
		var err error

		conn, err = p.connection(name)
		if err != nil {
			return nil, err
		}

		p.conns[name] = conn
	}

	return &call{antlerv1.NewPeerServiceClient(conn), p, name, conn, conn.GetState() == connectivity.Ready}, nil
}

func (p *peers) connection(name string) (*grpc.ClientConn, error) {
	address, ok := p.members[name]
	if !ok {
		return nil, fmt.Errorf("call %s: it isn't a member in this node's configuration", name)
	}

	config := p.tls.Clone()
	config.ServerName = name

	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return p.dial.within(ctx, p.timing.ConnectTimeout, address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A node that comes back is called again within a second.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: p.timing.HandshakeTimeout,
		}),
		// A window of a fixed size: to find one, gRPC pings the other side with nearly
		// each answer.
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		// A machine whose power was cut is noticed also where no call says so: one that
		// is called again only when it leads must not be called over what is left.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", name, address, err)
	}

	return conn, nil
}

// failed gives up a connection on which the call was not answered. Without it TCP
// would try for minutes to reach a machine whose power was cut. One that was still
// being made goes on: with each new one a busy machine would be busier.
func (c *call) failed(err error) {
	if !c.ready || status.Code(err) != codes.DeadlineExceeded {
		return
	}

	c.peers.mu.Lock()

	current := c.peers.conns[c.name] == c.conn
	if current {
		delete(c.peers.conns, c.name)
	}
	c.peers.mu.Unlock()

	if current {
		_ = c.conn.Close() // already unusable
	}
}

// untilLeaderMoves ends when there may be another leader to ask.
func (p *peers) untilLeaderMoves(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(p.unmoved, cancel)

	return ctx, func() {
		stop()
		cancel()
	}
}

func (p *peers) leaderChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.moved()
	p.unmoved, p.moved = context.WithCancel(context.Background())
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()

	var errs []error
	for name, conn := range p.conns {
		errs = append(errs, conn.Close())
		delete(p.conns, name)
	}

	_ = errors.Join(errs...) // closing a connection fails only if it is closed
}
