package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/authority"
	"antler/services/metadata"
)

// record is the quorum's, and the event log.
type record struct {
	mu   sync.Mutex
	dead string
	told chan string
}

func (r *record) isDead(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.dead == node
}

func (r *record) set(dead string) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.dead = dead
}

// Emit implements Events.
func (r *record) Emit(kind string, epoch uint64, message string) {
	r.told <- fmt.Sprintf("%s@%d: %s", kind, epoch, message)
}

func TestADeadNodesVolumesGoToOthers(t *testing.T) {
	b := newBench(t)
	quorum := &record{told: make(chan string, 9)}
	b.controller.Dead = quorum.isDead
	mine := b.create(t, "pvc-1", nil)

	require.NoError(t, stage(t, b.n1, mine, rwo))
	require.Equal(t, codes.FailedPrecondition, status.Code(stage(t, b.n2, mine, rwo)), "n1 is only not heard of")

	st := state.WrapCore(namespaced.NewState(inmem.Build))
	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, rt.RegisterController(&ReleaseController{Volumes: b.store, Nodes: []string{"n1", "n2"}, Dead: quorum.isDead, Events: quorum}))

	ctx, cancel := context.WithCancel(context.Background())

	var wg sync.WaitGroup

	wg.Go(func() { _ = rt.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})

	master := metadata.NewMasterStatus()
	master.TypedSpec().Phase, master.TypedSpec().Epoch, master.TypedSpec().Answering = metadata.PhaseServing, 5, true
	require.NoError(t, st.Create(ctx, master))

	quorum.set("n1")
	require.NoError(t, st.Create(ctx, authority.NewAuthorityStatus()))
	require.Equal(t, "volume.released@5: volume pvc-1 is free for other nodes: n1, which used it, is dead", <-quorum.told)

	require.NoError(t, stage(t, b.n2, mine, rwo))

	_, err = b.controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{VolumeId: mine, NodeId: "n1", VolumeCapability: capability(rwo)})
	require.Equal(t, codes.Unavailable, status.Code(err), "it has to be heard of first")
	require.Empty(t, quorum.told, "n2's use is its own")
}

// A node that is back while its uses are being ended keeps what it began since.
func TestANodeThatIsBackKeepsItsVolumes(t *testing.T) {
	b := newBench(t)
	require.NoError(t, stage(t, b.n1, b.create(t, "pvc-1", nil), rwo))

	v, err := b.store.Get(t.Context(), "pvc-1")
	require.NoError(t, err)

	released, err := b.store.ReleaseUse(t.Context(), v.Name, v.ID, "n1", func() bool { return false })
	require.NoError(t, err)
	require.False(t, released)

	v, err = b.store.Get(t.Context(), "pvc-1")
	require.NoError(t, err)
	require.Equal(t, []string{"n1"}, v.Users())
}
