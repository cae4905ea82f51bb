package provisioner

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"antler/services/kubernetes"
)

func TestClaimBecomesAPersistentVolume(t *testing.T) {
	claim := claimed(nil)
	b := newBench(claim, storageClass(nil))

	require.NoError(t, b.syncClaim(t.Context(), claim))

	pvs := b.volumes(t)
	require.Len(t, pvs, 1)

	pv := pvs[0]
	require.Equal(t, "pvc-u1", pv.Name)
	require.Equal(t, []string{volumeFinalizer}, pv.Finalizers)
	require.Equal(t, kubernetes.DriverName, pv.Annotations[annotationProvisionedBy])
	require.Equal(t, &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "shop", Name: "db", UID: "u1"}, pv.Spec.ClaimRef)
	require.Equal(t, corev1.PersistentVolumeReclaimDelete, pv.Spec.PersistentVolumeReclaimPolicy)
	require.Equal(t, []string{"noatime"}, pv.Spec.MountOptions)
	require.Equal(t, "moosefs", pv.Spec.StorageClassName)
	require.EqualValues(t, 1<<30, pv.Spec.Capacity.Storage().Value())
	require.Equal(t, "pvc-u1:id", pv.Spec.CSI.VolumeHandle)
	require.Equal(t, kubernetes.TopologyKey, pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Key)

	request := b.driver.requests[0]
	require.Equal(t, "pvc-u1", request.GetName())
	require.Equal(t, map[string]string{
		"copies": "2", parameterClaim: "db", parameterNamespace: "shop", parameterVolume: "pvc-u1",
	}, request.GetParameters())
	require.Len(t, request.GetVolumeCapabilities(), 2)

	require.Empty(t, b.claim(t).Finalizers)
	require.Contains(t, <-b.events.Events, "ProvisioningSucceeded")
	require.EqualValues(t, 1, b.Counts.Provisioned.Load())
}

// A second provisioner that knows nothing of the first makes nothing twice.
func TestProvisioningAgainFindsWhatIsThere(t *testing.T) {
	claim := claimed(nil)
	b := newBench(claim, storageClass(nil))

	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Len(t, b.volumes(t), 1)
	require.Len(t, b.driver.volumes, 1)
	require.Empty(t, b.claim(t).Finalizers)
	require.EqualValues(t, 1, b.Counts.Provisioned.Load())
	require.Len(t, b.events.Events, 1)
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"of another provisioner": func(c *corev1.PersistentVolumeClaim) { c.Annotations[annotationProvisioner] = "other" },
		"bound":                  bound,
		"being deleted": func(c *corev1.PersistentVolumeClaim) {
			c.DeletionTimestamp = &metav1.Time{}
			c.Finalizers = []string{"other"}
		},
	} {
		claim := claimed(change)
		b := newBench(claim, storageClass(nil))

		require.NoError(t, b.syncClaim(t.Context(), claim), name)
		require.Empty(t, b.driver.requests, name)
		require.Empty(t, b.api.Actions(), name)
	}
}

func TestWrongRequestsAreRefusedAndLeaveNothing(t *testing.T) {
	group := snapshotGroup
	other := "elsewhere"

	for want, c := range map[string]struct {
		class *storagev1.StorageClass
		claim func(*corev1.PersistentVolumeClaim)
		fail  error
	}{
		"copies in 1..9":           {class: storageClass(nil), fail: errWrong},
		`StorageClass "moosefs"`:   {},
		"its provisioner is other": {class: storageClass(func(c *storagev1.StorageClass) { c.Provisioner = "other" })},
		"claim.spec.selector":      {class: storageClass(nil), claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }},
		"a Backup can't": {class: storageClass(nil), claim: func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "Backup", Name: "s"}
		}},
		"volumes of other namespaces": {class: storageClass(nil), claim: func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "s", Namespace: &other}
		}},
	} {
		claim := claimed(c.claim)
		objects := []runtime.Object{claim}

		if c.class != nil {
			objects = append(objects, c.class)
		}

		b := newBench(objects...)
		b.driver.fail = c.fail

		require.ErrorContains(t, b.syncClaim(t.Context(), claim), want)
		require.Empty(t, b.volumes(t), want)
		require.Empty(t, b.claim(t).Finalizers, want)
	}
}

// When MooseFS doesn't answer it may have made the volume all the same, so the
// claim keeps its finalizer.
func TestInterruptedProvisioningIsNotForgotten(t *testing.T) {
	claim := claimed(nil)
	b := newBench(claim, storageClass(nil))
	b.driver.fail = status.Error(codes.Unavailable, "MooseFS does not answer")

	require.Error(t, b.syncClaim(t.Context(), claim))
	require.Equal(t, []string{claimFinalizer}, b.claim(t).Finalizers)

	// The volume is made and the persistent volume is not.
	b.driver.fail = nil
	b.api.PrependReactor("create", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errNoLease)
	})
	require.Error(t, b.syncClaim(t.Context(), claim))
	require.Len(t, b.driver.volumes, 1)

	// Whoever comes next finds a claim that was deleted meanwhile.
	claim = b.claim(t)
	claim.DeletionTimestamp = &metav1.Time{}
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Empty(t, b.driver.volumes)
	require.Equal(t, []string{"pvc-u1:id"}, b.driver.deleted)
	require.Empty(t, b.claim(t).Finalizers)
}

// A claim that is deleted once its persistent volume is there has its volume
// deleted by way of that, or kept.
func TestSettlingLeavesAPersistentVolumeAlone(t *testing.T) {
	claim := claimed(func(c *corev1.PersistentVolumeClaim) { bound(c); c.Finalizers = []string{claimFinalizer} })
	b := newBench(claim, storageClass(nil), volumeOf(claim, storageClass(nil), corev1.VolumeBound))
	b.driver.volumes["pvc-u1"] = &csi.Volume{VolumeId: "pvc-u1:id"}

	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Empty(t, b.claim(t).Finalizers)
	require.Empty(t, b.driver.deleted)
}

func TestPersistentVolumeOfSomebodyElseIsNoSuccess(t *testing.T) {
	claim := claimed(nil)
	b := newBench(claim, storageClass(nil), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-u1"}})

	require.ErrorContains(t, b.syncClaim(t.Context(), claim), "somebody else")
	require.Equal(t, []string{claimFinalizer}, b.claim(t).Finalizers)
}

func TestWaitForFirstConsumer(t *testing.T) {
	class := storageClass(func(c *storagev1.StorageClass) { *c.VolumeBindingMode = storagev1.VolumeBindingWaitForFirstConsumer })
	chosen := func(node string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Annotations[annotationSelectedNode] = node }
	}
	mine := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{kubernetes.TopologyKey: "cluster-1"}}}
	foreign := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "x1"}}

	claim := claimed(nil)
	b := newBench(claim, class, mine, foreign)
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Empty(t, b.volumes(t), "nobody needs it yet")

	for _, node := range []string{"x1", "gone"} {
		claim = claimed(chosen(node))
		b = newBench(claim, class, mine, foreign)
		require.ErrorContains(t, b.syncClaim(t.Context(), claim), "the scheduler is asked for another one")
		require.NotContains(t, b.claim(t).Annotations, annotationSelectedNode)
	}

	claim = claimed(chosen("n1"))
	b = newBench(claim, class, mine, foreign)
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Len(t, b.volumes(t), 1)
}

func TestClone(t *testing.T) {
	from := claimed(func(c *corev1.PersistentVolumeClaim) { c.Name, c.UID = "old", "u0"; bound(c) })
	claim := claimed(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "old"}
	})

	b := newBench(claim, from, storageClass(nil), volumeOf(from, storageClass(nil), corev1.VolumeBound))
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Equal(t, "pvc-u0:id", b.driver.requests[0].GetVolumeContentSource().GetVolume().GetVolumeId())

	// A claim that says it is bound to somebody else's volume gets no copy of it.
	pv := volumeOf(from, storageClass(nil), corev1.VolumeBound)
	pv.Spec.ClaimRef.UID = "u9"
	b = newBench(claim, from, storageClass(nil), pv)
	require.ErrorContains(t, b.syncClaim(t.Context(), claim), "is not bound to claim shop/old")
	require.Empty(t, b.driver.requests)
}

func TestAttributesClass(t *testing.T) {
	name := "fast"
	claim := claimed(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &name })
	attributes := &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: kubernetes.DriverName, Parameters: map[string]string{"trashTime": "2h"},
	}

	b := newBench(claim, storageClass(nil), attributes)
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Equal(t, map[string]string{"trashTime": "2h"}, b.driver.requests[0].GetMutableParameters())
	require.Equal(t, &name, b.volumes(t)[0].Spec.VolumeAttributesClassName)
}
