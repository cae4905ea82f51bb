package provisioner

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"antler/services/kubernetes"
)

// Driver makes volumes, as *kubernetes.Controller does. Each call is refused
// where it may not be carried out.
type Driver interface {
	CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error)
	DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error)
	ControllerExpandVolume(ctx context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error)
	ControllerModifyVolume(ctx context.Context, r *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error)
	CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error)
	DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error)
	// HandleOf returns the handle of the volume that CreateVolume made for a
	// name, empty if there is none. SnapshotHandleOf does the same for snapshots.
	HandleOf(ctx context.Context, name string) (string, error)
	SnapshotHandleOf(ctx context.Context, name string) (string, error)
}

// Counts of what was done. They may be read at any time.
type Counts struct{ Provisioned, Deleted, Expanded, Modified, Failed atomic.Uint64 }

// Read returns them.
func (c *Counts) Read() kubernetes.ProvisionerCounts {
	return kubernetes.ProvisionerCounts{
		Provisioned: c.Provisioned.Load(), Deleted: c.Deleted.Load(), Expanded: c.Expanded.Load(),
		Modified: c.Modified.Load(), Failed: c.Failed.Load(),
	}
}

// Provisioner does what claims and persistent volumes ask for. All fields must
// be set.
type Provisioner struct {
	Clients

	Driver Driver
	// Cluster is the cluster's id, by which the nodes that can mount its volumes
	// are told from others.
	Cluster  string
	Recorder record.EventRecorder
	Counts   *Counts
	Backoff  Backoff
	Now      func() time.Time
	// Watching is told why a watch ended, each time one does.
	Watching func(error)
	// TakesSnapshots: the cluster has VolumeSnapshots.
	TakesSnapshots bool
}

// Workers at once. Changes of volumes wait for each other, the API server's
// answers don't.
const (
	claimWorkers  = 8
	volumeWorkers = 4
	// One more would wait for it.
	snapshotWorkers = 1
)

// errNotSynced: the API server has not told all there is in time.
var errNotSynced = errors.New("the API server did not list all claims and persistent volumes in time: try again")

// syncTime is how long the first lists may take.
const syncTime = time.Minute

// Run works until ctx ends. It returns nil then, when all workers have ended.
func (p *Provisioner) Run(ctx context.Context) error {
	claims, err := newQueue(p, claimsOf(p.Clients), &corev1.PersistentVolumeClaim{}, reasonProvision, claimMatters, p.syncClaim)
	if err != nil {
		return err
	}

	volumes, err := newQueue(p, volumesOf(p.Clients), &corev1.PersistentVolume{}, reasonDelete, volumeMatters, p.syncVolume)
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)

	claims.run(ctx, group, claimWorkers)
	volumes.run(ctx, group, volumeWorkers)

	if p.TakesSnapshots {
		snapshots, err := newQueue(p, snapshotsOf(p.Clients), &metav1.PartialObjectMetadata{}, reasonSnapshot, snapshotMatters, p.syncSnapshot)
		if err != nil {
			return err
		}

		snapshots.run(ctx, group, snapshotWorkers)
	}

	return group.Wait()
}

func claimsOf(c Clients) *cache.ListWatch {
	all := c.Claims(metav1.NamespaceAll)

	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return all.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, options)
		},
	}
}

func volumesOf(c Clients) *cache.ListWatch {
	all := c.Volumes

	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return all.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, options)
		},
	}
}

func snapshotsOf(c Clients) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return c.SnapshotList.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return c.SnapshotList.Watch(ctx, options)
		},
	}
}
