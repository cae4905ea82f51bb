package provisioner

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"antler/services/kubernetes"
)

func TestSnapshotIsTakenAndDeleted(t *testing.T) {
	for _, class := range []string{"", "moosefs"} {
		b, objects, monday := snapshotBench(class)

		// The second time nothing is left to do.
		require.NoError(t, b.syncSnapshot(t.Context(), monday))
		require.NoError(t, b.syncSnapshot(t.Context(), monday))
		require.Equal(t, map[string]string{"snapshot-s1": "snapshot-s1:of:pvc-u1:id"}, b.driver.snapshots)

		require.Equal(t, tree{
			"boundVolumeSnapshotContentName": "snapcontent-s1", "readyToUse": true,
			"creationTime": time.Unix(1000, 0).UTC().Format(time.RFC3339), "restoreSize": "1073741824",
		}, objects.snapshot()["status"])
		require.Equal(t, []any{"somebody/else", snapshotFinalizer}, metadataOf(objects.snapshot())["finalizers"])
		require.Equal(t, tree{
			"snapshotHandle": "snapshot-s1:of:pvc-u1:id", "creationTime": float64(1000e9), "restoreSize": float64(1 << 30), "readyToUse": true,
		}, objects.content()["status"])

		// It can be restored, and by nobody else.
		handle, err := b.snapshotOf(t.Context(), "shop", "monday")
		require.NoError(t, err)
		require.Equal(t, "snapshot-s1:of:pvc-u1:id", handle)

		objects.delete()
		require.NoError(t, b.syncSnapshot(t.Context(), monday))
		require.Empty(t, b.driver.snapshots)
		require.Nil(t, objects.content())
		require.Equal(t, []any{"somebody/else"}, metadataOf(objects.snapshot())["finalizers"])
	}
}

// A node that went down in between leaves a snapshot that no handle tells of.
func TestSnapshotWithoutItsHandleIsDeleted(t *testing.T) {
	b, objects, monday := snapshotBench("moosefs")

	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	delete(objects.content(), "status")
	delete(objects.snapshot(), "status")

	objects.delete()
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Empty(t, b.driver.snapshots)
	require.Nil(t, objects.content())
}

func TestSnapshotThatCannotBeTaken(t *testing.T) {
	b, objects, monday := snapshotBench("moosefs")
	b.driver.fail = errWrong

	require.ErrorIs(t, b.syncSnapshot(t.Context(), monday), errWrong)
	require.Nil(t, objects.snapshot()["status"])

	// It can be deleted all the same, once the driver works.
	b.driver.fail = nil
	objects.delete()
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Nil(t, objects.content())
}

// meanwhile has something happen while the driver takes a snapshot.
type meanwhile struct {
	Driver

	happens func()
}

func (m meanwhile) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	m.happens()

	return m.Driver.CreateSnapshot(ctx, r)
}

// A VolumeSnapshot that was replaced by another of its name gets nothing of the first.
func TestSnapshotReplacedMeanwhile(t *testing.T) {
	b, objects, monday := snapshotBench("moosefs")
	b.Driver = meanwhile{b.driver, func() { metadataOf(objects.snapshot())["uid"] = "s2" }}

	require.True(t, apierrors.IsConflict(b.syncSnapshot(t.Context(), monday)))
	require.Nil(t, objects.snapshot()["status"])
}

func TestRetainedSnapshotStays(t *testing.T) {
	b, objects, monday := snapshotBench("keep")

	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	objects.delete()
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Len(t, b.driver.snapshots, 1)
	require.Empty(t, metadataOf(objects.content())["finalizers"])
	require.Equal(t, []any{"somebody/else"}, metadataOf(objects.snapshot())["finalizers"])
}

func TestSnapshotsOfOthersAreLeftAlone(t *testing.T) {
	b, objects, monday := snapshotBench("other")

	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Nil(t, objects.content())
	require.Empty(t, b.driver.snapshots)

	objects.delete()
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Equal(t, []any{"somebody/else"}, metadataOf(objects.snapshot())["finalizers"])

	// A content that is somebody else's is neither used nor deleted.
	b, objects, monday = snapshotBench("moosefs")
	objects[Place{Resource: resourceContents, Name: "snapcontent-s1"}] = tree{
		"metadata": tree{"name": "snapcontent-s1"},
		"spec":     tree{"driver": kubernetes.DriverName, "deletionPolicy": "Delete", "volumeSnapshotRef": tree{"uid": "s2"}},
		"status":   tree{"snapshotHandle": "theirs"},
	}
	b.driver.snapshots["theirs"] = "theirs"

	require.ErrorContains(t, b.syncSnapshot(t.Context(), monday), "somebody else has made it")
	objects.delete()
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Len(t, b.driver.snapshots, 1)
	require.NotNil(t, objects.content())
}

// Without a class a VolumeSnapshot is for the driver that has the claim's volume.
func TestSnapshotWithoutAClass(t *testing.T) {
	b, objects, monday := snapshotBench("")
	class := Place{Resource: resourceClasses, Name: "moosefs"}

	// It is ours, and somebody has to be told that there is no default.
	delete(metadataOf(objects[class]), "annotations")
	require.ErrorContains(t, b.syncSnapshot(t.Context(), monday), "spec.volumeSnapshotClassName is empty, and no VolumeSnapshotClass of driver moosefs.csi.antler is its default")
	require.Nil(t, objects.content())

	// Somebody names one. Nothing else of this is in what the queue has.
	before := monday.DeepCopy()
	monday.Generation, monday.ResourceVersion = 2, "2"
	require.True(t, asksForMore(before, monday))

	objects.snapshot()["spec"].(tree)["volumeSnapshotClassName"] = "moosefs"
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Len(t, b.driver.snapshots, 1)

	// What we write to it is no reason to look again.
	before = monday.DeepCopy()
	monday.Finalizers, monday.ResourceVersion = []string{snapshotFinalizer}, "3"
	require.False(t, asksForMore(before, monday))

	// Another driver's volume, and our default would be there.
	b, objects, monday = snapshotBench("")
	pv := b.volumes(t)[0]
	pv.Spec.CSI.Driver = "else"
	_, err := b.api.CoreV1().PersistentVolumes().Update(t.Context(), &pv, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, b.syncSnapshot(t.Context(), monday))
	require.Nil(t, objects.content())
	require.Equal(t, []any{"somebody/else"}, metadataOf(objects.snapshot())["finalizers"])

	// By name our class was meant.
	objects.snapshot()["spec"].(tree)["volumeSnapshotClassName"] = "moosefs"
	require.ErrorContains(t, b.syncSnapshot(t.Context(), monday), "has a volume of another driver")
}

// A cluster without the kinds is none of our business; one that doesn't let us see them
// has to be told of.
func TestVolumeSnapshotsThatCannotBeSeen(t *testing.T) {
	answer := http.StatusOK

	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "1", r.URL.Query().Get("limit"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer)
		_, _ = io.WriteString(w, `{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshotList","items":[]}`)
	}))
	defer api.Close()

	clients, err := Connect(&rest.Config{Host: api.URL}, func() error { return nil })
	require.NoError(t, err)

	logged, logs := observer.New(zap.WarnLevel)
	w := &Work{Kubeconfig: "/k", Logger: zap.New(logged)}

	for range 2 {
		answer = http.StatusForbidden
		require.False(t, w.snapshots(t.Context(), clients))
		require.ErrorContains(t, w.Connection().SnapshotsErr, "API server of kubeconfig /k: look for volumesnapshots: ")
		require.Equal(t, 1, logs.Len())
	}

	answer = http.StatusNotFound
	require.False(t, w.snapshots(t.Context(), clients))
	require.NoError(t, w.Connection().SnapshotsErr)

	answer = http.StatusOK
	require.True(t, w.snapshots(t.Context(), clients))
	require.NoError(t, w.Connection().SnapshotsErr)
	require.Equal(t, 1, logs.Len())
}

func TestRestore(t *testing.T) {
	group := snapshotGroup
	claim := claimed(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "s"}
	})

	for want, change := range map[string]func(snapshot, content tree){
		"":             func(tree, tree) {},
		"is not ready": func(s, _ tree) { s["status"].(tree)["readyToUse"] = false },
		"is being deleted": func(s, _ tree) {
			s["metadata"].(tree)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		},
		"is not bound to":   func(_, c tree) { c["spec"].(tree)["volumeSnapshotRef"] = tree{"uid": "other"} },
		"is of driver else": func(_, c tree) { c["spec"].(tree)["driver"] = "else" },
	} {
		snapshot := tree{"metadata": tree{"uid": "s1"}, "status": tree{"readyToUse": true, "boundVolumeSnapshotContentName": "content"}}
		content := tree{
			"spec":   tree{"driver": kubernetes.DriverName, "volumeSnapshotRef": tree{"uid": "s1"}},
			"status": tree{"snapshotHandle": "snapshot:id"},
		}
		change(snapshot, content)

		b := newBench(claim, storageClass(nil))
		b.Snapshots = fakeSnapshots{
			{resourceSnapshots, "shop", "s"}:              snapshot,
			{Resource: resourceContents, Name: "content"}: content,
		}

		err := b.syncClaim(t.Context(), claim)
		if want != "" {
			require.ErrorContains(t, err, want)
			require.Empty(t, b.driver.requests)

			continue
		}

		require.NoError(t, err)
		require.Equal(t, "snapshot:id", b.driver.requests[0].GetVolumeContentSource().GetSnapshot().GetSnapshotId())
	}
}
