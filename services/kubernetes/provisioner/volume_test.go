package provisioner

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func retained(c *storagev1.StorageClass) { *c.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain }

func TestReleasedVolumeIsDeleted(t *testing.T) {
	pv := volumeOf(claimed(nil), storageClass(nil), corev1.VolumeReleased)
	b := newBench(pv)

	require.NoError(t, b.syncVolume(t.Context(), pv))
	require.Equal(t, []string{"pvc-u1:id"}, b.driver.deleted)
	require.Empty(t, b.volumes(t))
	require.EqualValues(t, 1, b.Counts.Deleted.Load())
}

func TestVolumeThatIsInUseIsNotDeleted(t *testing.T) {
	pv := volumeOf(claimed(nil), storageClass(nil), corev1.VolumeReleased)
	b := newBench(pv)
	b.driver.fail = status.Error(codes.FailedPrecondition, "node n1 uses it")

	require.ErrorContains(t, b.syncVolume(t.Context(), pv), "node n1 uses it")
	require.Len(t, b.volumes(t), 1)
}

// None of these may cost a volume.
func TestVolumesThatStay(t *testing.T) {
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"retained":        func(pv *corev1.PersistentVolume) { retain(pv) },
		"bound":           func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeBound },
		"failed":          func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeFailed },
		"made by hand":    func(pv *corev1.PersistentVolume) { pv.Annotations = nil },
		"of other driver": func(pv *corev1.PersistentVolume) { pv.Spec.CSI.Driver = "other" },
		"deleted already": func(pv *corev1.PersistentVolume) {
			pv.DeletionTimestamp, pv.Finalizers = &metav1.Time{}, []string{"kubernetes.io/pv-protection"}
		},
	} {
		pv := volumeOf(claimed(nil), storageClass(nil), corev1.VolumeReleased)
		change(pv)
		b := newBench(pv)

		if volumeMatters(pv) {
			require.NoError(t, b.syncVolume(t.Context(), pv), name)
		}

		require.Empty(t, b.driver.deleted, name)
		require.Len(t, b.volumes(t), 1, name)
	}
}

func retain(pv *corev1.PersistentVolume) {
	pv.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
}

// What the informer says may be old: the policy is asked for once more.
func TestPolicyChangedInTheLastMoment(t *testing.T) {
	old := volumeOf(claimed(nil), storageClass(nil), corev1.VolumeReleased)
	now := old.DeepCopy()
	retain(now)

	b := newBench(now)
	require.NoError(t, b.syncVolume(t.Context(), old))
	require.Empty(t, b.driver.deleted)
}

func TestFinalizerFollowsThePolicy(t *testing.T) {
	pv := volumeOf(claimed(nil), storageClass(retained), corev1.VolumeBound)
	require.Empty(t, pv.Finalizers)

	pv.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	b := newBench(pv)
	require.NoError(t, b.syncVolume(t.Context(), pv))
	require.Equal(t, []string{volumeFinalizer}, b.volumes(t)[0].Finalizers)

	pv = &b.volumes(t)[0]
	retain(pv)
	require.NoError(t, b.syncVolume(t.Context(), pv))
	require.Empty(t, b.volumes(t)[0].Finalizers)
}

// growing is a claim of 1 GiB that asks for 3.
func growing(c *corev1.PersistentVolumeClaim) {
	bound(c)
	c.Spec.Resources.Requests = sized("3Gi")
}

func TestExpand(t *testing.T) {
	claim := claimed(growing)
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound))

	require.True(t, claimMatters(claim))
	require.NoError(t, b.syncClaim(t.Context(), claim))

	want := resource.MustParse("3Gi")
	now := b.claim(t)
	require.True(t, want.Equal(*now.Status.Capacity.Storage()))
	require.True(t, want.Equal(*now.Status.AllocatedResources.Storage()))
	require.Empty(t, now.Status.AllocatedResourceStatuses)
	require.Empty(t, now.Status.Conditions)
	require.True(t, want.Equal(*b.volumes(t)[0].Spec.Capacity.Storage()))
	require.Contains(t, <-b.events.Events, "VolumeResizeSuccessful")
	require.False(t, claimMatters(now))
}

func TestExpansionThatCannotBe(t *testing.T) {
	claim := claimed(growing)
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound))
	b.driver.fail = status.Error(codes.OutOfRange, "too large")

	var why failure

	require.ErrorAs(t, b.syncClaim(t.Context(), claim), &why)
	require.Equal(t, reasonExpand, why.reason)

	now := b.claim(t)
	require.Equal(t, corev1.PersistentVolumeClaimControllerResizeInfeasible, now.Status.AllocatedResourceStatuses[corev1.ResourceStorage])
	require.True(t, slices.ContainsFunc(now.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimControllerResizeError && c.Message == "too large"
	}))

	// Whoever asked for too much asks for what there is again.
	b.driver.fail = nil
	now.Spec.Resources.Requests = sized("1Gi")
	require.True(t, claimMatters(now))
	require.NoError(t, b.syncClaim(t.Context(), now))
	require.Empty(t, b.claim(t).Status.AllocatedResourceStatuses)
	require.Empty(t, b.claim(t).Status.Conditions)
}

func TestExpansionOfSomebodyElsesVolume(t *testing.T) {
	claim := claimed(growing)
	pv := volumeOf(claim, storageClass(nil), corev1.VolumeBound)
	pv.Spec.ClaimRef.UID = "u9"

	b := newBench(claim, pv)
	require.ErrorContains(t, b.syncClaim(t.Context(), claim), "is not bound to this claim")
	require.Nil(t, b.claim(t).Status.AllocatedResources)
}
