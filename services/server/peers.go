package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"antler/services/node/config"
)

// peers are the connections to the other nodes, made when first needed and
// kept.
type peers struct {
	cluster config.Cluster
	options []grpc.DialOption
	creds   func(node string) credentials.TransportCredentials

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers(cfg *config.Config, options []grpc.DialOption) (*peers, error) {
	pair, pool, err := cfg.PKI.TLSCertificate()
	if err != nil {
		return nil, err
	}

	return &peers{
		cluster: cfg.Cluster,
		options: options,
		creds: func(node string) credentials.TransportCredentials {
			return credentials.NewTLS(&tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{pair},
				RootCAs:      pool,
				// The node's name, not its address, is who it is.
				ServerName: node,
			})
		},
		conns: map[string]*grpc.ClientConn{},
	}, nil
}

func (p *peers) to(node string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if conn, found := p.conns[node]; found {
		return conn, nil
	}

	member, known := p.cluster.Member(node)
	if !known {
		return nil, fmt.Errorf("connect to %q: it is not among the cluster's nodes", node)
	}

	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(p.creds(node)),
		// A window of a fixed size: to find one, gRPC pings the other side with nearly
		// each message, and there are several a second all day.
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		// A node that lost its power answers no packet: notice within seconds.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			// Two small machines that are busy booting take seconds for a TLS handshake.
			MinConnectTimeout: 10 * time.Second,
		}),
		// A machine that is off doesn't answer at all, and may be back at any time.
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", address)
		}),
	}, p.options...)

	address := netip.AddrPortFrom(member.Address, config.APIPort).String()

	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s at %s: %w", node, address, err)
	}

	p.conns[node] = conn

	return conn, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()

	for node, conn := range p.conns {
		_ = conn.Close()
		delete(p.conns, node)
	}
}
