package authority_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// cluster is three nodes in this process: n1 and n2 with replicas, n3 a witness,
// with real Raft, gRPC and mTLS over loopback.
type cluster struct {
	t       testing.TB
	pki     *pki
	members []authority.Member
	nodes   map[string]*node
	network network
}

// node is one node's authority, as long as it runs.
type node struct {
	*authority.Authority

	config authority.Config
	// log is what it has said.
	log  *observer.ObservedLogs
	stop func()
}

// testTiming is half of the product's.
func testTiming() authority.Timing {
	timing := authority.DefaultTiming()
	for _, d := range []*time.Duration{
		&timing.RenewInterval, &timing.ReportInterval, &timing.RenewTimeout, &timing.AliveWithin, &timing.LeaseTTL, &timing.FenceDeadline,
		&timing.ClockMargin, &timing.GrantWait, &timing.RaftHeartbeat, &timing.RaftElection, &timing.LeaderSilence, &timing.HeartbeatInterval, &timing.RaftLeaderLease,
		&timing.RaftCommit, &timing.RaftTakeover, &timing.TransferDelay,
		&timing.ReplicaPingInterval, &timing.ReplicaPingTimeout,
	} {
		*d /= 2
	}

	// The test's network loses what is sent while it is cut; TCP would send it again.
	timing.HandshakeTimeout /= 4

	return timing
}

// newCluster makes three nodes; start starts them.
func newCluster(t testing.TB) *cluster { return newClusterOf(t, "n1", "n2", "n3") }

// newClusterOf makes the named nodes: n1 and n2 have replicas, n4 doesn't vote.
func newClusterOf(t testing.TB, names ...string) *cluster {
	t.Helper()

	c := &cluster{t: t, pki: newPKI(t), nodes: map[string]*node{}}
	dir := t.TempDir()

	for _, name := range names {
		c.members = append(c.members, authority.Member{
			Name: name, Address: freeAddress(t), RaftAddress: freeAddress(t), Voter: name != "n4", Replica: name < "n3",
		})
	}

	for _, m := range c.members {
		server, client := c.pki.node(t, m.Name)
		log, said := observer.New(zap.InfoLevel)
		tee := zap.WrapCore(func(test zapcore.Core) zapcore.Core { return zapcore.NewTee(test, log) })
		c.nodes[m.Name] = &node{log: said, config: authority.Config{
			Self: m.Name, ClusterID: "k", Members: c.members, Dir: filepath.Join(dir, m.Name, "raft"), Timing: testTiming(),
			ServerTLS: server, ClientTLS: client, Now: time.Now,
			Memory: authority.LeaseFile(filepath.Join(dir, m.Name+".lease")), Dial: c.network.dialer(m.Name, c.members),
			Logger: zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel), zaptest.WrapOptions(tee)).Named(m.Name),
		}}
	}

	return c
}

// freeAddress is one that nobody listens on, on a loopback address of its own:
// connections come from 127.0.0.1, and no other test gets the same.
func freeAddress(t testing.TB) string {
	t.Helper()

	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	require.NoError(t, l.Close())

	return l.Addr().String()
}

// start starts nodes, with replicas that report themselves as given.
func (c *cluster) start(report authority.Report, names ...string) {
	c.t.Helper()

	for _, name := range names {
		n := c.nodes[name]
		m := c.members[slices.IndexFunc(c.members, func(m authority.Member) bool { return m.Name == name })]

		var err error

		n.config.Listener, err = net.Listen("tcp", m.RaftAddress)
		require.NoError(c.t, err)

		api, err := net.Listen("tcp", m.Address)
		require.NoError(c.t, err)

		n.Authority, err = authority.New(n.config)
		require.NoError(c.t, err)

		if m.Replica {
			n.Report(report)
		}

		n.run(c.t, api)
	}
}

// run runs the node until stop, or the end of the test.
func (n *node) run(t testing.TB, api net.Listener) {
	t.Helper()

	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(n.config.ServerTLS)),
		// As the server package allows it: without this gRPC hangs up on whoever pings.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.StaticStreamWindowSize(1<<20), grpc.StaticConnWindowSize(1<<20))
	antlerv1.RegisterPeerServiceServer(server, n.PeerServer(callerFromTLS))

	ctx, cancel := context.WithCancel(context.Background())

	var wg sync.WaitGroup

	wg.Go(func() { _ = server.Serve(api) })
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("run %s: %v", n.config.Self, err)
		}
	})

	n.stop = sync.OnceFunc(func() {
		cancel()
		server.Stop()
		wg.Wait()
	})
	t.Cleanup(n.stop)
}

// callerFromTLS stands in for the server package's check.
func callerFromTLS(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "no peer")
	}

	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", status.Error(codes.Unauthenticated, "no certificate")
	}

	return info.State.PeerCertificates[0].Subject.CommonName, nil
}

// await waits until the node's status is as wanted.
func (c *cluster) await(name, what string, is func(authority.AuthorityStatusSpec) bool) authority.AuthorityStatusSpec {
	c.t.Helper()

	deadline := time.NewTimer(patience)
	defer deadline.Stop()

	for {
		changed := c.nodes[name].Changed()

		s, until := c.nodes[name].Status()
		if is(s) {
			return s
		}

		var ends <-chan time.Time
		if !until.IsZero() {
			ends = time.After(time.Until(until))
		}

		select {
		case <-changed:
		case <-ends:
		case <-deadline.C:
			require.Fail(c.t, "timeout", "%s: %s; it is %+v", name, what, s)
		}
	}
}

// serves waits until the node has a lease of the epoch.
func (c *cluster) serves(name string, epoch uint64) authority.AuthorityStatusSpec {
	c.t.Helper()

	return c.await(name, "has a lease", func(s authority.AuthorityStatusSpec) bool {
		return s.LeaseValid && s.Epoch == epoch
	})
}

// formed starts all nodes on blank replicas, and lets n1 serve in epoch 1.
func (c *cluster) formed() {
	c.t.Helper()

	c.start(blank, "n1", "n2", "n3")

	for _, n := range []string{"n1", "n2"} {
		c.await(n, "has consent", func(s authority.AuthorityStatusSpec) bool { return s.Phase == authority.PhaseForming })
	}

	c.nodes["n1"].Report(up)
	c.nodes["n2"].Report(up)
	c.serves("n1", 1)
	require.NoError(c.t, c.nodes["n1"].Formatted(c.ctx()))
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)

	return ctx
}

var (
	blank = authority.Report{Replica: authority.ReplicaReport{Phase: "blank"}}
	up    = authority.Report{Replica: authority.ReplicaReport{Phase: "up", Disk: "UpToDate"}}
)
