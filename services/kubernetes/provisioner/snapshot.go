package provisioner

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"antler/services/kubernetes"
)

// snapshotGroup is the API group of VolumeSnapshot and VolumeSnapshotContent.
const snapshotGroup = "snapshot.storage.k8s.io"

// VolumeSnapshot is what counts of one. Its kinds come with CRDs that a cluster
// may not have, so client-go has no client for them.
type VolumeSnapshot struct {
	Metadata struct {
		UID               types.UID `json:"uid"`
		DeletionTimestamp string    `json:"deletionTimestamp"`
	} `json:"metadata"`
	Status struct {
		Content string `json:"boundVolumeSnapshotContentName"`
		Ready   bool   `json:"readyToUse"`
	} `json:"status"`
}

// VolumeSnapshotContent is what counts of one.
type VolumeSnapshotContent struct {
	Spec struct {
		Driver string `json:"driver"`
		Ref    struct {
			UID types.UID `json:"uid"`
		} `json:"volumeSnapshotRef"`
	} `json:"spec"`
	Status struct {
		Handle string `json:"snapshotHandle"`
	} `json:"status"`
}

// Snapshots are VolumeSnapshots and what they are bound to.
type Snapshots interface {
	Snapshot(ctx context.Context, namespace, name string) (VolumeSnapshot, error)
	Content(ctx context.Context, name string) (VolumeSnapshotContent, error)
}

// snapshots reads them from the API server.
type snapshots struct{ client rest.Interface }

// Snapshot implements Snapshots.
func (s snapshots) Snapshot(ctx context.Context, namespace, name string) (out VolumeSnapshot, err error) {
	return out, read(ctx, s.client.Get().Namespace(namespace).Resource("volumesnapshots"), name, &out)
}

// Content implements Snapshots.
func (s snapshots) Content(ctx context.Context, name string) (out VolumeSnapshotContent, err error) {
	return out, read(ctx, s.client.Get().Resource("volumesnapshotcontents"), name, &out)
}

// read gets an object. Its name was written by somebody who may have few rights:
// Name refuses one that would lead elsewhere.
func read(ctx context.Context, request *rest.Request, name string, into any) error {
	content, err := request.Name(name).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return err
	}

	return json.Unmarshal(content, into)
}

// snapshotOf is the handle of the snapshot that a VolumeSnapshot is bound to.
func (p *Provisioner) snapshotOf(ctx context.Context, namespace, name string) (string, error) {
	snapshot, err := p.Snapshots.Snapshot(ctx, namespace, name)
	if err != nil {
		return "", fmt.Errorf("get VolumeSnapshot %s/%s: %w", namespace, name, err)
	}

	if !snapshot.Status.Ready || snapshot.Status.Content == "" || snapshot.Metadata.DeletionTimestamp != "" {
		return "", fmt.Errorf("VolumeSnapshot %s/%s is not ready (yet), or is being deleted", namespace, name)
	}

	content, err := p.Snapshots.Content(ctx, snapshot.Status.Content)
	if err != nil {
		return "", fmt.Errorf("get VolumeSnapshotContent %s: %w", snapshot.Status.Content, err)
	}

	// Whoever may write a VolumeSnapshot must not get at somebody else's by it.
	if content.Spec.Ref.UID != snapshot.Metadata.UID {
		return "", fmt.Errorf("VolumeSnapshotContent %s is not bound to VolumeSnapshot %s/%s", snapshot.Status.Content, namespace, name)
	}

	if content.Spec.Driver != kubernetes.DriverName || content.Status.Handle == "" {
		return "", fmt.Errorf("VolumeSnapshot %s/%s is of driver %s, or has no handle: restore it there", namespace, name, content.Spec.Driver)
	}

	return content.Status.Handle, nil
}
