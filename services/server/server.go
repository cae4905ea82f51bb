package server

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cosi-project/runtime/pkg/state"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/node/config"
)

// Authority is what people may ask of the quorum. All return when the quorum
// has recorded the wish, or with why it won't; what follows is seen in
// resources.
type Authority interface {
	// SetTarget asks for a switchover to the node.
	SetTarget(ctx context.Context, node string) error
	// ForceGrant grants an epoch to the node by a person's word.
	ForceGrant(ctx context.Context, node, who, why string) error
	// Restore grants an epoch to the node to form the cluster anew from metadata
	// that it has at hand.
	Restore(ctx context.Context, node string, metaVersion, metadataID uint64, who, why string) error
	// Discard gives up what only the node's replica has.
	Discard(ctx context.Context, node, who, why string) error
}

// Voters is what people may ask of the quorum about its members.
type Voters interface {
	// Replacement looks whether the node has lost its store.
	Replacement(ctx context.Context, node string) (authority.Replacement, error)
	// ReplaceStore gives the node its vote back; forget names the lost store.
	ReplaceStore(ctx context.Context, node, forget, who, why string) error
}

// Logs gives the last lines of a service's log to each (0: all), and new ones
// until ctx ends if follow is set.
type Logs func(ctx context.Context, service string, lines int, follow bool, each func(line string) error) error

// Options are what a Server needs. All are required unless said otherwise.
type Options struct {
	Config *config.Config
	State  state.State
	Events *EventLog
	Logger *zap.Logger
	// Authority, Voters, Metadata, Volumes, Logs and Systems: calls that need one that is nil are
	// UNIMPLEMENTED.
	Authority Authority
	Voters    Voters
	Metadata  Metadata
	// StagePath is where a restore gathers what it starts from.
	StagePath string
	Volumes   Volumes
	Logs      Logs
	// Systems is what is asked of the node's own system.
	Systems Systems
	// Register adds other services; optional.
	Register []func(grpc.ServiceRegistrar)
	// RootUID is the user that is an administrator on the unix socket: 0 but in
	// tests.
	RootUID uint32
	// DialOptions are for the connections to other nodes; for tests.
	DialOptions []grpc.DialOption
	// Now is the wall clock.
	Now func() time.Time
	// RetryInterval between attempts to reach a node whose events are followed;
	// 1 s if 0.
	RetryInterval time.Duration
}

// window is what may be on its way to a receiver, in bytes: a file is sent in pieces of
// 256 KiB.
const window = 1 << 20

// maxMessage bounds what one message may take of antlerd's memory, in bytes.
const maxMessage = 4 << 20

// Server is the API of one node.
type Server struct {
	options Options
	peers   *peers
	grpc    *grpc.Server
	health  *health.Server
	// certificateEnds is when this node's certificate does.
	certificateEnds time.Time
}

// New returns a server that listens on nothing yet.
func New(options Options) (*Server, error) {
	creds, err := newTransport(options.Config.PKI)
	if err != nil {
		return nil, err
	}

	pair, _, err := options.Config.PKI.TLSCertificate()
	if err != nil {
		return nil, err
	}

	peers, err := newPeers(options.Config, options.DialOptions)
	if err != nil {
		return nil, err
	}

	if options.RetryInterval == 0 {
		options.RetryInterval = time.Second
	}

	s := &Server{options: options, peers: peers, health: health.NewServer(), certificateEnds: pair.Leaf.NotAfter}

	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.MaxConcurrentStreams(256),
		grpc.ConnectionTimeout(10*time.Second),
		// A watcher whose machine lost its power is let go.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)

	antlerv1.RegisterClusterServiceServer(s.grpc, &clusterService{server: s})
	antlerv1.RegisterVolumeServiceServer(s.grpc, &volumeService{server: s})
	antlerv1.RegisterMetadataServiceServer(s.grpc, &metadataService{server: s})
	antlerv1.RegisterNodeServiceServer(s.grpc, &nodeService{server: s})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)

	for _, register := range options.Register {
		register(s.grpc)
	}

	return s, nil
}

// Serve serves on one more listener, that comes and goes while Run runs. It
// returns when the listener is closed or Run ends.
func (s *Server) Serve(listener net.Listener) error { return s.grpc.Serve(listener) }

// Run serves on the listeners until ctx ends, and closes them. Calls under way
// get a moment to end.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)

	for _, listener := range listeners {
		group.Go(func() error {
			err := s.grpc.Serve(listener)
			if errors.Is(err, grpc.ErrServerStopped) {
				return nil
			}

			return err
		})
	}

	group.Go(func() error {
		<-ctx.Done()
		s.health.Shutdown()
		s.stop()
		s.peers.close()

		return nil
	})

	return group.Wait()
}

// stopWait is what calls under way get to end. It is short: streams that follow
// never end by themselves.
const stopWait = 500 * time.Millisecond

func (s *Server) stop() {
	forced := time.AfterFunc(stopWait, s.grpc.Stop)
	defer forced.Stop()

	s.grpc.GracefulStop()
}
