package kubernetes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

type mode = csi.VolumeCapability_AccessMode_Mode

func stage(t *testing.T, n *Node, handle string, m mode) error {
	t.Helper()

	_, err := n.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: handle, StagingTargetPath: filepath.Join(n.Kubelet, "staging"), VolumeCapability: capability(m),
	})

	return err
}

func publish(t *testing.T, n *Node, handle, pod string, m mode) error {
	t.Helper()

	_, err := n.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: handle, StagingTargetPath: filepath.Join(n.Kubelet, "staging"), TargetPath: filepath.Join(n.Kubelet, pod),
		VolumeCapability: capability(m),
	})

	return err
}

func unpublish(t *testing.T, n *Node, handle, pod string) error {
	t.Helper()

	_, err := n.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: filepath.Join(n.Kubelet, pod)})

	return err
}

func unstage(t *testing.T, n *Node, handle string) error {
	t.Helper()

	_, err := n.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: filepath.Join(n.Kubelet, "staging")})

	return err
}

func TestAccessModesAcrossNodes(t *testing.T) {
	const multi = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER

	for name, c := range map[string]struct {
		first, second mode
		want          codes.Code
	}{
		"RWX, RWX":               {rwx, rwx, codes.OK},
		"ROX, ROX":               {rox, rox, codes.OK},
		"RWX, ROX":               {rwx, rox, codes.OK},
		"RWO, RWO":               {rwo, rwo, codes.FailedPrecondition},
		"RWO as kubelet says it": {multi, multi, codes.FailedPrecondition},
		"RWOP, RWOP":             {rwop, rwop, codes.FailedPrecondition},
		"RWX, RWO":               {rwx, rwo, codes.FailedPrecondition},
		"RWOP, ROX":              {rwop, rox, codes.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			handle := b.create(t, "pvc-1", nil)

			require.NoError(t, stage(t, b.n1, handle, c.first))
			requireCode(t, c.want, stage(t, b.n2, handle, c.second))

			if c.want == codes.OK {
				return
			}

			// It follows the pod: n1 lets go, n2 gets it.
			require.NoError(t, unstage(t, b.n1, handle))
			require.NoError(t, stage(t, b.n2, handle, c.second))
			requireCode(t, codes.FailedPrecondition, stage(t, b.n1, handle, c.first))
		})
	}
}

func TestAccessModesOnOneNode(t *testing.T) {
	for m, want := range map[mode]codes.Code{rwo: codes.OK, rwx: codes.OK, rwop: codes.FailedPrecondition} {
		b := newBench(t)
		handle := b.create(t, "pvc-1", nil)

		require.NoError(t, stage(t, b.n1, handle, m))
		require.NoError(t, publish(t, b.n1, handle, "pod-1", m))
		require.NoError(t, publish(t, b.n1, handle, "pod-1", m), "idempotent")
		requireCode(t, want, publish(t, b.n1, handle, "pod-2", m), m)

		require.NoError(t, unpublish(t, b.n1, handle, "pod-1"))
		require.NoError(t, unpublish(t, b.n1, handle, "pod-1"), "idempotent")
		require.NoError(t, publish(t, b.n1, handle, "pod-2", m))
	}
}

func TestReadOnlyModesAreMountedSo(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rox))
	require.NoError(t, publish(t, b.n1, handle, "pod-1", rox))
	require.EqualValues(t, unix.MOUNT_ATTR_RDONLY, b.mounter.attributes[filepath.Join(b.n1.Kubelet, "pod-1")])
}

func TestStatsAreOfTheVolume(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwx))
	require.NoError(t, publish(t, b.n1, handle, "pod-1", rwx))
	require.NoError(t, os.WriteFile(filepath.Join(b.at(t, handle), "f"), []byte("12345"), 0o644))

	_, err := b.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 << 30}})
	require.NoError(t, err)

	path := filepath.Join(b.n1.Kubelet, "pod-1")
	stats, err := b.n1.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: path})
	require.NoError(t, err)
	require.EqualValues(t, 2<<30, stats.GetUsage()[0].GetTotal())
	require.EqualValues(t, 5, stats.GetUsage()[0].GetUsed())
	require.Len(t, stats.GetUsage(), 1, "without a limit there is no total")

	_, err = b.controller.ControllerModifyVolume(t.Context(), &csi.ControllerModifyVolumeRequest{VolumeId: handle, MutableParameters: map[string]string{"inodeLimit": "10"}})
	require.NoError(t, err)

	stats, err = b.n1.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: path})
	require.NoError(t, err)

	inodes := stats.GetUsage()[1]
	require.Equal(t, csi.VolumeUsage_INODES, inodes.GetUnit())
	require.Equal(t, []int64{10, 1, 9}, []int64{inodes.GetTotal(), inodes.GetUsed(), inodes.GetAvailable()})

	grown, err := b.n1.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: handle, VolumePath: path})
	require.NoError(t, err)
	require.EqualValues(t, 2<<30, grown.GetCapacityBytes())
}

func TestPublishNeedsStage(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	requireCode(t, codes.FailedPrecondition, publish(t, b.n1, handle, "pod-1", rwo))
	require.Empty(t, b.mounter.mounts)
}

// A mount that is missing or doesn't answer is an error, never a bind of what is
// below it.
func TestNothingIsBoundWithoutALiveMount(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwo))

	// Both the serving node's mount and this one's are the same directory here.
	b.verify = volume.VerifyMooseFS(open(t, b.root))
	require.Error(t, b.verify)

	requireCode(t, codes.Unavailable, publish(t, b.n1, handle, "pod-1", rwo))
	requireCode(t, codes.Unavailable, stage(t, b.n1, handle, rwo))
	require.Len(t, b.mounter.mounts, 1)

	require.NoError(t, unpublish(t, b.n1, handle, "pod-1"), "unmounting needs no master")

	health, err := b.n1.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: handle})
	require.NoError(t, err)
	require.Equal(t, "NotReachable", health.GetVolumeHealth().GetHealthStatuses()[0].GetReason())
}

// Another volume of the same name, made later, is another one.
func TestHandleOfAnEarlierVolume(t *testing.T) {
	b := newBench(t)
	old := b.create(t, "pvc-1", nil)

	_, err := b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: old})
	require.NoError(t, err)

	handle := b.create(t, "pvc-1", nil)
	require.NotEqual(t, old, handle)

	for name, err := range b.everyControllerCall(t, old) {
		switch name {
		case "delete", "unpublish", "deleteSnapshot":
			require.NoError(t, err, name)
		default:
			requireCode(t, codes.NotFound, err, name)
		}
	}

	requireCode(t, codes.NotFound, stage(t, b.n1, old, rwo))

	_, err = b.store.Get(t.Context(), "pvc-1")
	require.NoError(t, err)
}

// A volume that could not be staged is free for other nodes: kubelet need not
// unstage it.
func TestFailedStageEndsTheUse(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	b.mounter.fail = errors.New("no such mount point")

	requireCode(t, codes.Internal, stage(t, b.n1, handle, rwo))
	require.NoError(t, stage(t, b.n2, handle, rwo))
}

// The use ends only when the volume is surely unmounted.
func TestFailedUnstageKeepsTheUse(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwo))

	b.mounter.fail = errors.New("device or resource busy")
	requireCode(t, codes.Internal, unstage(t, b.n1, handle))
	requireCode(t, codes.FailedPrecondition, stage(t, b.n2, handle, rwo))

	b.mounter.fail = nil
	b.serving = errors.New("nobody serves")
	requireCode(t, codes.Unavailable, unstage(t, b.n1, handle))

	b.serving = nil
	require.NoError(t, unstage(t, b.n1, handle), "kubelet tries again")
	require.NoError(t, stage(t, b.n2, handle, rwo))
}

func TestUsedVolumeIsNotDeleted(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwx))

	_, err := b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: handle})
	requireCode(t, codes.FailedPrecondition, err)
	require.ErrorContains(t, err, "it is used on n1")
}

// A bind of a mount that mfsmount has left is replaced by one of the new mount.
func TestStaleBindIsReplaced(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwo))

	b.mounter.mounts[0].Stale = true

	require.NoError(t, stage(t, b.n1, handle, rwo))
	require.Len(t, b.mounter.mounts, 1)
	require.False(t, b.mounter.mounts[0].Stale)
}

func TestSomethingElseAtThePathIsLeftAlone(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	theirs := Mount{Path: filepath.Join(b.n1.Kubelet, "staging"), Root: "(tmpfs)"}
	b.mounter.mounts = []Mount{theirs}

	requireCode(t, codes.AlreadyExists, stage(t, b.n1, handle, rwo))
	require.Equal(t, []Mount{theirs}, b.mounter.mounts)
	require.NoError(t, stage(t, b.n2, handle, rwo), "and the volume is free")
}

func TestOneCallAtATimeForAVolume(t *testing.T) {
	var f inFlight

	done, err := f.begin("a")
	require.NoError(t, err)

	_, err = f.begin("a")
	require.Equal(t, codes.Aborted, status.Code(err))

	other, err := f.begin("b")
	require.NoError(t, err)
	other()
	done()

	done, err = f.begin("a")
	require.NoError(t, err)
	done()
}
