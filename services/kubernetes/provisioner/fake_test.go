package provisioner

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"antler/services/kubernetes"
)

// fakeDriver keeps volumes by name.
type fakeDriver struct {
	mu      sync.Mutex
	volumes map[string]*csi.Volume
	// requests are all that volumes were made for, deleted the handles.
	requests []*csi.CreateVolumeRequest
	deleted  []string
	// modified are the parameters that volumes were to get.
	modified []map[string]string
	// snapshots are handles by name.
	snapshots map[string]string
	// fail is what each call fails with.
	fail error
}

func (d *fakeDriver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	d.requests = append(d.requests, r)

	if d.fail != nil {
		return nil, d.fail
	}

	if d.volumes[r.GetName()] == nil {
		d.volumes[r.GetName()] = &csi.Volume{
			VolumeId: r.GetName() + ":id", CapacityBytes: r.GetCapacityRange().GetRequiredBytes(),
			AccessibleTopology: []*csi.Topology{{Segments: map[string]string{kubernetes.TopologyKey: "cluster-1"}}},
		}
	}

	return &csi.CreateVolumeResponse{Volume: d.volumes[r.GetName()]}, nil
}

func (d *fakeDriver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.fail != nil {
		return nil, d.fail
	}

	d.deleted = append(d.deleted, r.GetVolumeId())

	for name, v := range d.volumes {
		if v.GetVolumeId() == r.GetVolumeId() {
			delete(d.volumes, name)
		}
	}

	return &csi.DeleteVolumeResponse{}, nil
}

func (d *fakeDriver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.fail != nil {
		return nil, d.fail
	}

	return &csi.ControllerExpandVolumeResponse{CapacityBytes: r.GetCapacityRange().GetRequiredBytes()}, nil
}

func (d *fakeDriver) ControllerModifyVolume(_ context.Context, r *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	d.modified = append(d.modified, r.GetMutableParameters())

	return &csi.ControllerModifyVolumeResponse{}, d.fail
}

func (d *fakeDriver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.fail != nil {
		return nil, d.fail
	}

	d.snapshots[r.GetName()] = r.GetName() + ":of:" + r.GetSourceVolumeId()

	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{
		SnapshotId: d.snapshots[r.GetName()], SizeBytes: 1 << 30, CreationTime: timestamppb.New(time.Unix(1000, 0)), ReadyToUse: true,
	}}, nil
}

func (d *fakeDriver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if d.fail != nil {
		return nil, d.fail
	}

	maps.DeleteFunc(d.snapshots, func(_, handle string) bool { return handle == r.GetSnapshotId() })

	return &csi.DeleteSnapshotResponse{}, nil
}

func (d *fakeDriver) SnapshotHandleOf(_ context.Context, name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.snapshots[name], nil
}

func (d *fakeDriver) HandleOf(_ context.Context, name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.volumes[name].GetVolumeId(), nil
}

// oldClaims are client-go's fake: it can't stream a list.
type oldClaims struct{ Claims }

func (oldClaims) IsWatchListSemanticsUnSupported() bool { return true }

// bench is a provisioner on client-go's fake API server.
type bench struct {
	*Provisioner

	api    *fake.Clientset
	driver *fakeDriver
	events *record.FakeRecorder
}

func newBench(objects ...runtime.Object) *bench {
	b := &bench{api: fake.NewClientset(objects...), driver: &fakeDriver{volumes: map[string]*csi.Volume{}, snapshots: map[string]string{}}, events: record.NewFakeRecorder(100)}
	core, storage := b.api.CoreV1(), b.api.StorageV1()

	b.Provisioner = &Provisioner{
		Clients: Clients{
			Claims:  func(namespace string) Claims { return oldClaims{core.PersistentVolumeClaims(namespace)} },
			Volumes: core.PersistentVolumes(), Classes: storage.StorageClasses(),
			AttributesClasses: storage.VolumeAttributesClasses(), Nodes: core.Nodes(), CSINodes: storage.CSINodes(),
		},
		Driver: b.driver, Cluster: "cluster-1", Recorder: b.events, Counts: &Counts{}, Backoff: DefaultBackoff(),
		Now: func() time.Time { return time.Unix(1000, 0) }, Watching: func(error) {},
	}

	return b
}

func storageClass(change func(*storagev1.StorageClass)) *storagev1.StorageClass {
	policy, mode := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "moosefs"}, Provisioner: kubernetes.DriverName, ReclaimPolicy: &policy,
		VolumeBindingMode: &mode, Parameters: map[string]string{"copies": "2"}, MountOptions: []string{"noatime"},
	}

	if change != nil {
		change(class)
	}

	return class
}

// claimed is a claim as the controller manager leaves it for a provisioner.
func claimed(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "moosefs"
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "db", Namespace: "shop", UID: "u1", Annotations: map[string]string{annotationProvisioner: kubernetes.DriverName},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: sized("1Gi")},
		},
	}

	if change != nil {
		change(claim)
	}

	return claim
}

func sized(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

// bound makes a claim one that is bound to its persistent volume.
func bound(claim *corev1.PersistentVolumeClaim) {
	claim.Spec.VolumeName = nameOf(claim)
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.Capacity = claim.Spec.Resources.Requests.DeepCopy()
}

// volumeOf is the persistent volume of a claim, in a phase.
func volumeOf(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	pv := persistentVolume(claim, class, &csi.Volume{VolumeId: nameOf(claim) + ":id", CapacityBytes: 1 << 30}, &csi.CreateVolumeRequest{
		VolumeCapabilities: []*csi.VolumeCapability{{}},
	})
	pv.UID, pv.Status.Phase = types.UID("of-"+string(claim.UID)), phase

	return pv
}

func (b *bench) claim(t *testing.T) *corev1.PersistentVolumeClaim {
	t.Helper()

	claim, err := b.api.CoreV1().PersistentVolumeClaims("shop").Get(t.Context(), "db", metav1.GetOptions{})
	require.NoError(t, err)

	return claim
}

func (b *bench) volumes(t *testing.T) []corev1.PersistentVolume {
	t.Helper()

	list, err := b.api.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)

	return list.Items
}

var (
	errWrong   = status.Error(codes.InvalidArgument, "parameters.copies: \"12\" is not a number of copies in 1..9")
	errNoLease = errors.New("it has no lease with the quorum")
)
