package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/metadata/files"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/node/config/gen"
	"antler/services/replication"
	"antler/services/volume"
)

const clusterFile = `
name: home
floating: [10.5.0.250/24]
nodes:
- {name: n1, address: 10.5.0.1, roles: [metadata, chunkserver, client], replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n2, address: 10.5.0.2, roles: [metadata, chunkserver, client], replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n3, address: 10.5.0.3, roles: [witness, chunkserver, client], chunks: [{device: /dev/vdc}]}
`

// testCluster is three servers with real certificates on loopback, and the
// states that they show.
type testCluster struct {
	t     *testing.T
	files *gen.Files
	nodes map[string]*testNode
}

type testNode struct {
	state     state.State
	events    *EventLog
	authority *fakeAuthority
	volumes   *fakeVolumes
	metadata  *fakeMetadata
	server    *Server
	tcp       net.Addr
	socket    string
}

func newCluster(t *testing.T) *testCluster { return newClusterWith(t, func(*Options) {}) }

func newClusterWith(t *testing.T, change func(*Options)) *testCluster {
	t.Helper()

	file, err := gen.ParseClusterFile([]byte(clusterFile))
	require.NoError(t, err)

	secrets, err := gen.NewSecrets("home", time.Now())
	require.NoError(t, err)

	files, err := gen.Generate(file, secrets, time.Now())
	require.NoError(t, err)

	c := &testCluster{t: t, files: files, nodes: map[string]*testNode{}}

	// All addresses are known before the first server runs.
	listeners := map[string]net.Listener{}

	for _, cfg := range files.Nodes {
		listeners[cfg.Node.Name], err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}

	dial := func(ctx context.Context, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}

		for _, m := range files.Nodes[0].Cluster.Nodes {
			if m.Address.String() == host {
				return (&net.Dialer{}).DialContext(ctx, "tcp", listeners[m.Name].Addr().String())
			}
		}

		return nil, net.ErrClosed
	}

	for _, cfg := range files.Nodes {
		c.start(cfg, listeners[cfg.Node.Name], dial, change)
	}

	return c
}

func (c *testCluster) start(cfg *config.Config, listener net.Listener, dial func(context.Context, string) (net.Conn, error), change func(*Options)) {
	t := c.t
	name := cfg.Node.Name
	n := &testNode{
		state:   state.WrapCore(namespaced.NewState(inmem.Build)),
		events:  NewEventLog(name, time.Now),
		volumes: &fakeVolumes{},
		tcp:     listener.Addr(),
		socket:  filepath.Join(t.TempDir(), "antlerd.sock"),
	}
	n.authority = &fakeAuthority{cluster: c}
	root := t.TempDir()
	n.metadata = &fakeMetadata{Places: files.Places{
		Node: name, Data: filepath.Join(root, "mfs"), SavedIn: root, Metalogger: filepath.Join(root, "metalogger"),
	}}

	require.NoError(t, RegisterResources(t.Context(), n.state))
	require.NoError(t, n.state.Create(t.Context(), node.NewNodeConfig(cfg)))

	options := Options{
		Config: cfg, State: n.state, Events: n.events, Logger: zaptest.NewLogger(t, zaptest.Level(zapErrorLevel)),
		Authority: n.authority, Voters: n.authority, Metadata: n.metadata, StagePath: filepath.Join(root, "restore"), Volumes: n.volumes,
		Logs: func(_ context.Context, service string, _ int, _ bool, each func(string) error) error {
			return each("line of " + service)
		},
		RootUID: currentUID(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
		Now: time.Now, RetryInterval: 10 * time.Millisecond,
	}
	change(&options)

	var err error

	n.server, err = New(options)
	require.NoError(t, err)

	local, err := ListenUnix(t.Context(), n.socket)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)

	go func() { ended <- n.server.Run(ctx, listener, local) }()

	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})

	c.nodes[name] = n
}

func (c *testCluster) node(name string) *testNode { return c.nodes[name] }

// dial connects to a node as the holder of the client configuration.
func (c *testCluster) dial(node string, client *config.Client) *grpc.ClientConn {
	return c.dialTLS(node, config.PKI{CA: client.CA, Cert: client.Cert, Key: client.Key})
}

func (c *testCluster) dialTLS(node string, pki config.PKI) *grpc.ClientConn {
	pair, pool, err := pki.TLSCertificate()
	require.NoError(c.t, err)

	return c.dialWith(node, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: node, MinVersion: tls.VersionTLS13})
}

func (c *testCluster) dialWith(node string, conf *tls.Config) *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///"+c.node(node).tcp.String(), grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close() })

	return conn
}

// serve makes all nodes know that the node serves in the epoch.
func (c *testCluster) serve(holder string, epoch uint64) {
	for name, n := range c.nodes {
		for _, other := range []string{"n1", "n2", "n3"} {
			report := authority.NewNodeReport(other)
			report.TypedSpec().Alive = true
			report.TypedSpec().Report = healthyReport(other, holder, epoch)
			c.put(n, report)
		}

		master := metadata.NewMasterStatus()
		m := healthyReport(name, holder, epoch).Master
		*master.TypedSpec() = metadata.MasterStatusSpec{
			Phase: metadata.Phase(m.Phase), Epoch: m.Epoch, Answering: m.Answering, Chunkservers: m.Chunkservers,
			TotalSpace: m.TotalSpace, FreeSpace: m.FreeSpace, Version: m.Version, Chunks: m.Chunks,
		}
		c.put(n, master)

		if name != "n3" {
			c.put(n, replicaOf(healthyReport(name, holder, epoch).Replica))
		}

		status := authority.NewAuthorityStatus()
		*status.TypedSpec() = healthyAuthority(name, holder, epoch)
		c.put(n, status)
	}
}

// replicaOf is what a node knows itself of what it reports.
func replicaOf(r authority.ReplicaReport) *replication.ReplicaStatus {
	replica := replication.NewReplicaStatus()
	*replica.TypedSpec() = replication.ReplicaStatusSpec{
		Phase: replication.Phase(r.Phase), Role: replication.Role(r.Role), Disk: r.Disk, Connection: r.Connection, PeerDisk: r.PeerDisk,
		SyncPercent: r.SyncPercent, Comparison: replication.Comparison(r.Comparison),
	}

	return replica
}

// put creates or replaces a resource.
func (c *testCluster) put(n *testNode, r resource.Resource) {
	ctx := context.Background()

	current, err := n.state.Get(ctx, r.Metadata())
	if state.IsNotFoundError(err) {
		require.NoError(c.t, n.state.Create(ctx, r))

		return
	}

	require.NoError(c.t, err)
	r.Metadata().SetVersion(current.Metadata().Version())
	require.NoError(c.t, n.state.Update(ctx, r))
}

func healthyAuthority(self, holder string, epoch uint64) authority.AuthorityStatusSpec {
	return authority.AuthorityStatusSpec{
		Phase: authority.PhaseFormed, Formatted: true, Epoch: epoch, Holder: holder, Self: self, IsHolder: self == holder,
		LeaseValid: self == holder, Leader: "n3", HaveQuorum: true, Voting: true,
		Replicas: []string{"n1", "n2"}, UpToDate: []string{"n1", "n2"},
	}
}

func healthyReport(name, holder string, epoch uint64) authority.Report {
	report := authority.Report{Version: "v1", Services: map[string]string{"chunkserver": "running"}}

	if name != "n3" {
		report.Replica = authority.ReplicaReport{Phase: "up", Role: "Secondary", Disk: "UpToDate", Connection: "Connected", PeerDisk: "UpToDate", SyncPercent: 100}
		report.Master = authority.MasterReport{Phase: "stopped"}
	}

	if name == holder {
		report.Replica.Role = "Primary"
		report.Master = authority.MasterReport{
			Phase: "serving", Epoch: epoch, Answering: true, Version: "4.57.5", Chunkservers: 3,
			TotalSpace: 3 << 40, FreeSpace: 2 << 40, Chunks: 1234,
		}
	}

	return report
}

// fakeAuthority does what it is asked at once.
type fakeAuthority struct {
	cluster *testCluster

	mu     sync.Mutex
	refuse error
	asked  []string
}

func (a *fakeAuthority) record(what string) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.asked = append(a.asked, what)

	return a.refuse
}

// SetTarget implements Authority.
func (a *fakeAuthority) SetTarget(_ context.Context, target string) error {
	err := a.record("switchover " + target)
	if err != nil {
		return err
	}

	a.cluster.node("n1").events.Emit("authority.released", 5, "n1 gave up")
	a.cluster.serve(target, 6)

	return nil
}

// ForceGrant implements Authority.
func (a *fakeAuthority) ForceGrant(_ context.Context, target, who, reason string) error {
	err := a.record("force " + target + " by " + who + " because " + reason)
	if err != nil {
		return err
	}

	a.cluster.serve(target, 6)

	return nil
}

// Restore implements Authority.
func (a *fakeAuthority) Restore(_ context.Context, target string, metaVersion, metadataID uint64, who, reason string) error {
	err := a.record(fmt.Sprintf("restore %d of %d on %s by %s because %s", metaVersion, metadataID, target, who, reason))
	if err != nil {
		return err
	}

	a.cluster.serve(target, 6)

	return nil
}

// Discard implements Authority.
func (a *fakeAuthority) Discard(_ context.Context, node, who, why string) error {
	return a.record("discard " + node + " by " + who + " because " + why)
}

// Replacement implements Voters.
func (a *fakeAuthority) Replacement(_ context.Context, node string) (authority.Replacement, error) {
	return authority.Replacement{Node: node, Old: "OLD", New: "NEW"}, a.record("look at " + node)
}

// ReplaceStore implements Voters.
func (a *fakeAuthority) ReplaceStore(_ context.Context, node, forget, who, why string) error {
	return a.record("replace " + node + ", forget " + forget + " by " + who + " because " + why)
}

// fakeVolumes knows what was created, and that each of them is full.
type fakeVolumes struct {
	Volumes

	mu      sync.Mutex
	created []volume.Spec
	// uses of the volume that is called shared, and ended by how often one was.
	uses  map[string]volume.Use
	ended int
}

// Create implements Volumes.
func (v *fakeVolumes) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	if spec.Name == "panic" {
		panic("a bug")
	}

	v.mu.Lock()
	defer v.mu.Unlock()

	v.created = append(v.created, spec)

	return volume.Volume{Name: spec.Name, Size: spec.Size, ID: CallerFrom(ctx).Name + "@" + CallerFrom(ctx).Via}, nil
}

// Adopt implements Volumes.
func (v *fakeVolumes) Adopt(_ context.Context, spec volume.Spec, from string) (volume.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	v.created = append(v.created, spec)

	return volume.Volume{Name: spec.Name, Size: spec.Size, InodeLimit: spec.InodeLimit, Path: "was " + from}, nil
}

// Get implements Volumes.
func (v *fakeVolumes) Get(_ context.Context, name string) (volume.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	if name == "shared" {
		return volume.Volume{Name: name, ID: "id-1", Uses: maps.Clone(v.uses)}, nil
	}

	return volume.Volume{}, &wrapped{"look at volume " + name + ": there is none", volume.ErrNotFound}
}

// EndUse implements Volumes.
func (v *fakeVolumes) EndUse(_ context.Context, name, id, node string) (volume.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	if name != "shared" || id != "id-1" || node == "" {
		return volume.Volume{}, &wrapped{"end the use of another volume", volume.ErrNotFound}
	}

	delete(v.uses, node)

	v.ended++

	return volume.Volume{Name: name, ID: id, Uses: maps.Clone(v.uses)}, nil
}

// Expand implements Volumes.
func (v *fakeVolumes) Expand(_ context.Context, name string, size uint64) (volume.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	for _, made := range v.created {
		if made.Name == name {
			return volume.Volume{Name: name, Size: size, Used: made.Size}, nil
		}
	}

	return volume.Volume{}, &wrapped{"expand volume " + name + ": 2 GiB are in use", volume.ErrPrecondition}
}

type wrapped struct {
	text string
	kind error
}

func (w *wrapped) Error() string { return w.text }
func (w *wrapped) Unwrap() error { return w.kind }
