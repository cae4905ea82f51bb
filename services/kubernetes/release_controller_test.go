package kubernetes

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/volume"
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
	synctest.Test(t, func(t *testing.T) {
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

		go func() { _ = rt.Run(t.Context()) }()

		master := metadata.NewMasterStatus()
		master.TypedSpec().Phase, master.TypedSpec().Epoch = metadata.PhaseServing, 5
		require.NoError(t, st.Create(t.Context(), master))

		quorum.set("n1")
		require.NoError(t, st.Create(t.Context(), authority.NewAuthorityStatus()))
		synctest.Wait()
		require.Empty(t, quorum.told, "mfsmaster doesn't answer yet")

		_, err = safe.StateUpdateWithConflicts(t.Context(), st, master.Metadata(), func(m *metadata.MasterStatus) error {
			m.TypedSpec().Answering = true

			return nil
		})
		require.NoError(t, err)
		require.Equal(t, "volume.released@5: volume pvc-1 is free for other nodes: n1, which used it, is dead", <-quorum.told)

		require.NoError(t, stage(t, b.n2, mine, rwo))

		_, err = b.controller.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{VolumeId: mine, NodeId: "n1", VolumeCapability: capability(rwo)})
		require.Equal(t, codes.Unavailable, status.Code(err), "it has to be heard of first")
		synctest.Wait()
		require.Empty(t, quorum.told, "n2's use is its own")

		// What n1 asked for while it lived is carried out only now.
		late, err := b.store.Create(t.Context(), volume.Spec{Name: "pvc-2", Size: 1 << 20})
		require.NoError(t, err)
		_, err = b.store.Use(t.Context(), late.Name, late.ID, "n1", volume.Use{Alone: true})
		require.NoError(t, err)

		time.Sleep(releaseInterval)
		synctest.Wait()
		require.Len(t, quorum.told, 1)
		require.Equal(t, "volume.released@5: volume pvc-2 is free for other nodes: n1, which used it, is dead", <-quorum.told)
	})
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
