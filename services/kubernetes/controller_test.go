package kubernetes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func requireCode(t *testing.T, want codes.Code, err error, what ...any) {
	t.Helper()
	require.Equal(t, want, status.Code(err), append([]any{fmt.Sprint(err)}, what...)...)
}

// at returns the directory of a volume's data on what stands for MooseFS.
func (b *bench) at(t *testing.T, handle string) string {
	t.Helper()

	h, err := ParseHandle(handle)
	require.NoError(t, err)

	return filepath.Join(b.root, rootOf(h.Name))
}

func TestRetriesAndConcurrentCallsMakeOneVolume(t *testing.T) {
	b := newBench(t)

	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		handles = map[string]bool{}
	)

	for range 8 {
		group.Go(func() {
			made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
				Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwo)},
			})
			if err != nil {
				t.Error(err)
			}

			mu.Lock()
			defer mu.Unlock()

			handles[made.GetVolume().GetVolumeId()] = true
		})
	}

	group.Wait()
	require.Len(t, handles, 1)

	_, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwo)},
		CapacityRange: &csi.CapacityRange{RequiredBytes: 5 << 30},
	})
	requireCode(t, codes.AlreadyExists, err)
}

func TestParametersOfAStorageClass(t *testing.T) {
	b := newBench(t)

	handle := b.create(t, "pvc-1", map[string]string{
		"copies": "3", "trashTime": "36h", "archiveTime": "30d", "inodeLimit": "100", "nameTemplate": "${pvc.namespace}-${pvc.name}-${pv.name}",
		paramNamespace: "shop", paramClaim: "db", paramPV: "pvc-1",
	})
	h, err := ParseHandle(handle)
	require.NoError(t, err)
	require.Equal(t, "shop-db-pvc-1", h.Name)

	v, err := b.store.Get(t.Context(), h.Name)
	require.NoError(t, err)
	require.Equal(t, "3CP", v.StorageClass)
	require.Equal(t, 36*time.Hour, v.TrashTime)
	require.EqualValues(t, 100, v.InodeLimit)

	_, err = b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: handle})
	require.NoError(t, err)
	_, err = b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: handle})
	require.NoError(t, err, "idempotent")

	archived, err := b.store.ListArchived(t.Context())
	require.NoError(t, err)
	require.Len(t, archived, 1)
	require.Equal(t, 30*24*time.Hour, archived[0].Expires.Sub(archived[0].Deleted))

	_, err = b.store.Undelete(t.Context(), h.Name, "")
	require.NoError(t, err, "a deleted volume comes back")
}

// All that is wrong is said at once, so that one event on the claim tells it.
func TestBadParametersAreRefusedTogether(t *testing.T) {
	b := newBench(t)

	_, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)},
		Parameters: map[string]string{"copies": "12", "trashTime": "-1h", "size": "1", "nameTemplate": "${pvc.name}"},
	})
	requireCode(t, codes.InvalidArgument, err)

	for _, text := range []string{
		`parameters.copies: "12" is not a number of copies in 1..9`, "parameters.trashTime", "parameters.size: is unknown",
		"parameters.nameTemplate", "two claims could get the same volume",
	} {
		require.ErrorContains(t, err, text)
	}

	for _, bad := range []map[string]string{
		{"archiveTime": "0s"}, {"archiveTime": "99999d"}, {"trashTime": "d"}, {"moosefsStorageClass": "--help"},
		{"copies": "2", "moosefsStorageClass": "2CP"}, {"moosefsStorageClass": "nosuch"},
		{"inodeLimit": "0"}, {"inodeLimit": "-1"}, {"inodeLimit": "1k"}, {"inodeLimit": "4294967296"},
	} {
		_, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
			Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}, Parameters: bad,
		})
		requireCode(t, codes.InvalidArgument, err, bad)
	}
}

func TestExpandButNotShrink(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)

	expand := func(r *csi.CapacityRange) (int64, error) {
		answer, err := b.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: handle, CapacityRange: r})
		require.False(t, answer.GetNodeExpansionRequired())

		return answer.GetCapacityBytes(), err
	}

	size, err := expand(&csi.CapacityRange{RequiredBytes: 3 << 30})
	require.NoError(t, err)
	require.EqualValues(t, 3<<30, size)

	size, err = expand(&csi.CapacityRange{RequiredBytes: 2 << 30})
	require.NoError(t, err, "it has at least that")
	require.EqualValues(t, 3<<30, size)

	_, err = expand(&csi.CapacityRange{LimitBytes: 1 << 30})
	requireCode(t, codes.OutOfRange, err)
}

func TestSnapshotRestoreClone(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, os.WriteFile(filepath.Join(b.at(t, handle), "f"), []byte("one"), 0o644))

	taken, err := b.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snapshot-1", SourceVolumeId: handle})
	require.NoError(t, err)
	require.True(t, taken.GetSnapshot().GetReadyToUse())
	require.NoError(t, os.WriteFile(filepath.Join(b.at(t, handle), "f"), []byte("two"), 0o644))

	for name, c := range map[string]struct {
		source *csi.VolumeContentSource
		want   string
	}{
		"restored": {&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: taken.GetSnapshot().GetSnapshotId()},
		}}, "one"},
		"cloned": {&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
		}}, "two"},
	} {
		made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
			Name: name, VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}, VolumeContentSource: c.source,
		})
		require.NoError(t, err)
		require.EqualValues(t, 1<<30, made.GetVolume().GetCapacityBytes(), "as large as its source")

		content, err := os.ReadFile(filepath.Join(b.at(t, made.GetVolume().GetVolumeId()), "f"))
		require.NoError(t, err)
		require.Equal(t, c.want, string(content))

		_, err = b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
			Name: name + "-small", VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}, VolumeContentSource: c.source,
			CapacityRange: &csi.CapacityRange{RequiredBytes: 1 << 20, LimitBytes: 1 << 20},
		})
		requireCode(t, codes.OutOfRange, err)
	}
}

// A node without a lease makes, changes and deletes nothing, and says so in the
// way that makes the caller try again, which leads it to the node that serves.
func TestOnlyTheServingNodeWorks(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	b.serving = errors.New("it has no lease with the quorum")

	for name, err := range b.everyControllerCall(t, handle) {
		requireCode(t, codes.Unavailable, err, name)
	}

	b.serving = nil

	all, err := b.store.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Empty(t, all[0].Uses)
}

// everyControllerCall makes each call that is about a handle.
func (b *bench) everyControllerCall(t *testing.T, handle string) map[string]error {
	t.Helper()

	var (
		ctx = t.Context()
		c   = b.controller
		out = map[string]error{}
		one = []*csi.VolumeCapability{capability(rwo)}
	)

	create := func(s *csi.VolumeContentSource) (err error) {
		_, err = c.CreateVolume(ctx, &csi.CreateVolumeRequest{Name: "of-source", VolumeCapabilities: one, VolumeContentSource: s})

		return err
	}
	out["clone"] = create(&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
	}})
	out["restore"] = create(&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle},
	}})
	_, out["snapshot"] = c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: handle})
	_, out["getSnapshot"] = c.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: handle})
	_, out["deleteSnapshot"] = c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: handle})
	_, out["expand"] = c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 << 30}})
	_, out["modify"] = c.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{VolumeId: handle, MutableParameters: map[string]string{"trashTime": "1h"}})
	_, out["publish"] = c.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{VolumeId: handle, NodeId: "n1", VolumeCapability: one[0]})
	_, out["unpublish"] = c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: handle, NodeId: "n1"})
	_, out["validate"] = c.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: handle, VolumeCapabilities: one})
	_, out["get"] = c.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: handle})
	_, out["health"] = c.ControllerGetVolumeHealth(ctx, &csi.ControllerGetVolumeHealthRequest{VolumeId: handle})
	_, out["delete"] = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: handle})

	return out
}

func TestListsGoOnWhereTheyStopped(t *testing.T) {
	b := newBench(t)

	for i := range 5 {
		b.create(t, fmt.Sprintf("pvc-%d", i), nil)
	}

	first, err := b.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: 2})
	require.NoError(t, err)
	require.Len(t, first.GetEntries(), 2)

	// The last entry of the page goes; none of the others may be missed.
	_, err = b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: first.GetEntries()[1].GetVolume().GetVolumeId()})
	require.NoError(t, err)

	rest, err := b.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: first.GetNextToken()})
	require.NoError(t, err)
	require.Len(t, rest.GetEntries(), 3)
	require.True(t, strings.HasPrefix(rest.GetEntries()[0].GetVolume().GetVolumeId(), "pvc-2:"))

	_, err = b.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: "7"})
	requireCode(t, codes.Aborted, err)
}

// The provisioner knows a volume by the name that it asked for, whatever the
// template made of that.
func TestHandleOfWhatWasAskedFor(t *testing.T) {
	b := newBench(t)
	plain := b.create(t, "pvc-1", nil)
	named := b.create(t, "pvc-2", map[string]string{"nameTemplate": "shop-${pv.name}", paramPV: "pvc-2"})

	for name, want := range map[string]string{"pvc-1": plain, "pvc-2": named, "shop-pvc-2": "", "pvc-3": ""} {
		handle, err := b.controller.HandleOf(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, want, handle, name)
	}
}
