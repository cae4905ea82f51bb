package moosefs

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/moosefs/protocol"
	"antler/services/node"
	"antler/services/node/config"
)

func testConfig() *config.Config {
	roles := []config.Role{config.RoleMetadata, config.RoleChunkserver, config.RoleMetalogger, config.RoleClient}

	return &config.Config{
		Cluster: config.Cluster{
			Name: "test", ID: "5d1c",
			Nodes: []config.Member{
				{Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), Roles: roles},
				{Name: "n2", Address: netip.MustParseAddr("10.77.0.1"), Roles: roles},
			},
			Floating:          []netip.Prefix{netip.MustParsePrefix("fd00::100/64"), netip.MustParsePrefix("10.0.0.100/24")},
			Password:          "client-secret",
			AdminPassword:     "admin-secret",
			ChunkserverSecret: "cs-secret",
			Storage:           config.Storage{Copies: 2, TrashTime: 86400},
		},
		Node: config.Node{Name: "n1", Chunks: []config.ChunkStore{{Device: "/dev/vdb"}, {Path: "/srv/chunks"}}},
	}
}

func startControllers(t *testing.T, controllers ...controller.Controller) (context.Context, state.State) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	st := state.WrapCore(namespaced.NewState(inmem.Build))

	require.NoError(t, st.Create(ctx, node.NewNodeConfig(testConfig())))

	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)

	for _, c := range controllers {
		require.NoError(t, rt.RegisterController(c))
	}

	done := make(chan error, 1)

	go func() { done <- rt.Run(ctx) }()

	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})

	return ctx, st
}

type recordedEvents struct {
	mu  sync.Mutex
	all []string
}

func (e *recordedEvents) Emit(kind string, _ uint64, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()

	e.all = append(e.all, kind+": "+message)
}

func (e *recordedEvents) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()

	return strings.Join(e.all, "\n")
}

type fakeStores map[string]error

func (f fakeStores) Prepare(_ context.Context, index int, store config.ChunkStore, _ bool) (Store, error) {
	place := store.Device + store.Path

	return Store{Index: index, Device: store.Device, Path: place + "/chunks"}, f[place]
}

func TestChunkserverRunsWithTheStoresThatAreReady(t *testing.T) {
	events := &recordedEvents{}
	ctx, st := startControllers(t, &ChunkserverController{
		Stores:   fakeStores{"/srv/chunks": errors.New("refused: somebody's photos")},
		Events:   events,
		DataPath: filepath.Join(t.TempDir(), "chunkserver"),
	})

	rtestutils.AssertResource(ctx, t, st, ChunkserverContainer, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		spec := c.TypedSpec()
		assert.True(spec.Restart)
		assert.NotContains(strings.Join(spec.Args, " "), "secret")
		assert.Equal("/var/lib/antler/chunks/0 -64MiB\n", spec.Files["mfs/mfshdd.cfg"].Content)

		cfg := spec.Files["mfs/mfschunkserver.cfg"].Content
		assert.Contains(cfg, "MASTER_HOST = 10.0.0.100\n")
		assert.Contains(cfg, "BIND_HOST = 10.0.0.1\n")
		assert.Contains(cfg, "CSSERV_LISTEN_HOST = 10.0.0.1\n")
		assert.Contains(cfg, "AUTH_CODE = cs-secret\n")
	})
	rtestutils.AssertResource(ctx, t, st, "0", func(s *ChunkStoreStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Ready)
		assert.True(s.TypedSpec().Durable)
	})
	rtestutils.AssertResource(ctx, t, st, "1", func(s *ChunkStoreStatus, assert *assert.Assertions) {
		assert.False(s.TypedSpec().Ready)
		assert.Contains(s.TypedSpec().Error, "photos")
	})
	assert.Contains(t, events.text(), "chunkstore.refused: refused: somebody's photos")
}

func TestMetalogger(t *testing.T) {
	ctx, st := startControllers(t, &MetaloggerController{DataPath: filepath.Join(t.TempDir(), "metalogger")})

	rtestutils.AssertResource(ctx, t, st, MetaloggerContainer, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		assert.Contains(c.TypedSpec().Files["mfs/mfsmetalogger.cfg"].Content, "MASTER_HOST = 10.0.0.100\n")
	})
}

// updateMaster changes the master's status.
func updateMaster(ctx context.Context, st state.State, change func(*metadata.MasterStatus)) (*metadata.MasterStatus, error) {
	return safe.StateUpdateWithConflicts(ctx, st, metadata.NewMasterStatus().Metadata(), func(m *metadata.MasterStatus) error {
		change(m)

		return nil
	})
}

func TestMounts(t *testing.T) {
	ctx, st := startControllers(t, &MountController{ClientPath: "/m/client", AdminPath: "/m/admin"})

	rtestutils.AssertResource(ctx, t, st, ClientMountContainer, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		spec := c.TypedSpec()
		options := spec.Files["mfs/mfsmount.cfg"]
		assert.Contains(options.Content, "mfspassword=client-secret\n")
		assert.Contains(options.Content, "mfsbind=10.0.0.1\n")
		assert.False(options.World)
		assert.Equal([]string{"/usr/bin/mfsmount", "-f", "/m/client"}, spec.Args)
		assert.True(spec.Fuse)
		assert.False(spec.RestartOnChange)
	})

	// Before there is a master.
	rtestutils.AssertResource(ctx, t, st, AdminMountContainer, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		assert.Contains(c.TypedSpec().Files["mfs/mfsmount.cfg"].Content, "mfspassword=admin-secret\n")
		assert.Contains(c.TypedSpec().Files["mfs/mfsmount.cfg"].Content, "mfsxattrcacheto=0\n")
		assert.True(c.TypedSpec().RestartOnChange)
	})
}

type fakeProber struct{ err error }

func (p fakeProber) Probe(context.Context, string) (bool, error) { return true, p.err }

func TestMountStatus(t *testing.T) {
	ctx, st := startControllers(t, &MountStatusController{
		Prober: fakeProber{}, Paths: map[string]string{ClientMountContainer: "/m"},
	})

	container := containers.NewContainerStatus(ClientMountContainer)
	container.TypedSpec().Running = true
	require.NoError(t, st.Create(ctx, container))
	require.NoError(t, st.Create(ctx, containers.NewContainerStatus("other")))

	rtestutils.AssertResource(ctx, t, st, ClientMountContainer, func(s *MountStatus, assert *assert.Assertions) {
		assert.Equal(MountStatusSpec{Path: "/m", Mounted: true, Alive: true}, *s.TypedSpec())
	})
	rtestutils.AssertNoResource[*MountStatus](ctx, t, st, "other")

	require.NoError(t, st.Destroy(ctx, container.Metadata()))
	rtestutils.AssertNoResource[*MountStatus](ctx, t, st, ClientMountContainer)
}

func TestHostMountsSeesNoMount(t *testing.T) {
	mounted, err := (&HostMounts{}).Probe(t.Context(), t.TempDir())
	require.NoError(t, err)
	assert.False(t, mounted)
}

func TestStatusOnTheServingNode(t *testing.T) {
	synctest.Test(t, statusOnTheServingNode)
}

func statusOnTheServingNode(t *testing.T) {
	run := &fakeRunner{answers: map[string]string{
		"mfsgetsclass /m":         "/m: 2CP\n",
		"mfsgettrashretention /m": "/m: 24 (1d)\n",
	}}
	events := &recordedEvents{}
	ctx, st := startControllers(t, &StatusController{
		Master: func(string) (Master, func()) { return answeringMaster{}, func() {} }, Runner: run, Events: events,
	})

	mount := NewMountStatus(AdminMountContainer)
	*mount.TypedSpec() = MountStatusSpec{Path: "/m", Mounted: true, Alive: true}
	require.NoError(t, st.Create(ctx, mount))

	master := metadata.NewMasterStatus()
	master.TypedSpec().Answering, master.TypedSpec().Epoch = true, 4
	require.NoError(t, st.Create(ctx, master))

	time.Sleep(afterTakeover / 2)
	synctest.Wait()
	rtestutils.AssertNoResource[*Status](ctx, t, st, StatusID)
	assert.Empty(t, events.text(), "clients come first")

	rtestutils.AssertResource(ctx, t, st, StatusID, func(s *Status, assert *assert.Assertions) {
		spec := s.TypedSpec()
		assert.True(spec.DefaultsSet)
		assert.Equal("4.57.5", spec.Version)
		assert.Equal(uint64(1), spec.Endangered)
		assert.Equal(1, spec.Sessions)
		assert.Len(spec.Metaloggers, 1)
		assert.Len(spec.Chunkservers, 2)

		if len(spec.Chunkservers) == 2 {
			assert.Equal("10.77.0.1:9422", spec.Chunkservers[0].Address)
			assert.Equal("n2", spec.Chunkservers[0].Node)
			assert.True(spec.Chunkservers[0].Connected)
			assert.False(spec.Chunkservers[1].Connected)
		}
	})

	_, err := updateMaster(ctx, st, func(m *metadata.MasterStatus) { m.TypedSpec().Answering = false })
	require.NoError(t, err)
	rtestutils.AssertNoResource[*Status](ctx, t, st, StatusID)
	assert.Contains(t, events.text(), "storage.defaults: new data gets 2 copies")
}

// answeringMaster has one chunkserver of two, and one session of two.
type answeringMaster struct{}

func (answeringMaster) Info(context.Context) (protocol.Info, error) {
	return protocol.Info{Version: 4<<16 | 57<<8 | 10}, nil
}

func (answeringMaster) Chunkservers(context.Context) ([]protocol.Chunkserver, error) {
	return []protocol.Chunkserver{
		{Address: netip.MustParseAddrPort("10.77.0.9:9422")},
		{Address: netip.MustParseAddrPort("10.77.0.1:9422"), Connected: true},
	}, nil
}

func (answeringMaster) Sessions(context.Context) ([]protocol.Session, error) {
	return []protocol.Session{{ID: 1, Connected: true}, {ID: 2}}, nil
}

func (answeringMaster) Metaloggers(context.Context) ([]protocol.Metalogger, error) {
	return []protocol.Metalogger{{Address: netip.MustParseAddr("10.77.0.1")}}, nil
}

func (answeringMaster) Health(context.Context) (protocol.Health, error) {
	return protocol.Health{Chunks: 3, Endangered: 1}, nil
}
