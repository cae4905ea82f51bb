package provisioner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// snapshotFinalizer is on a VolumeSnapshot and its content while there may be a
// snapshot.
const snapshotFinalizer = kubernetes.DriverName + "/snapshot"

const annotationDefaultSnapshotClass = "snapshot.storage.kubernetes.io/is-default-class"

// contentOf is the name of a VolumeSnapshot's content, and snapshotName that by
// which the driver knows the snapshot. They have external-snapshotter's names, so
// that no second one is made where that runs as well.
func contentOf(s *VolumeSnapshot) string    { return "snapcontent-" + string(s.Metadata.UID) }
func snapshotName(s *VolumeSnapshot) string { return "snapshot-" + string(s.Metadata.UID) }

// snapshotMatters reports whether there may be something to do about one.
func snapshotMatters(o *metav1.PartialObjectMetadata) bool {
	return o.DeletionTimestamp == nil || has(o.ObjectMeta, snapshotFinalizer)
}

// syncSnapshot does what is to be done about a VolumeSnapshot. The queue has only
// what all objects have.
func (p *Provisioner) syncSnapshot(ctx context.Context, o *metav1.PartialObjectMetadata) error {
	s, err := p.getSnapshot(ctx, o.Namespace, o.Name)
	if err != nil || s == nil {
		return err
	}

	if s.Metadata.DeletionTimestamp != nil {
		return p.forgetSnapshot(ctx, s)
	}

	// One of a content that somebody has made by hand is theirs to bind.
	if s.Status.Ready || s.Spec.Source.Claim == "" {
		return nil
	}

	class, handle, err := p.snapshotSource(ctx, s)
	if err != nil || class == nil {
		return err
	}

	return p.takeSnapshot(ctx, s, class, handle)
}

// snapshotSource returns the class of a VolumeSnapshot and the handle of the volume
// that it is to be of; no class if it is another driver's.
func (p *Provisioner) snapshotSource(ctx context.Context, s *VolumeSnapshot) (*VolumeSnapshotClass, string, error) {
	if s.Spec.Class == "" {
		return p.defaultSource(ctx, s)
	}

	class, err := p.snapshotClass(ctx, s.Spec.Class)
	if err != nil || class == nil {
		return nil, "", err
	}

	handle, err := p.boundTo(ctx, s.Metadata.Namespace, s.Spec.Source.Claim)

	return class, handle, err
}

// defaultSource is for a VolumeSnapshot without a class: it is for the driver that has
// the claim's volume, by that driver's default class.
func (p *Provisioner) defaultSource(ctx context.Context, s *VolumeSnapshot) (*VolumeSnapshotClass, string, error) {
	handle, err := p.boundTo(ctx, s.Metadata.Namespace, s.Spec.Source.Claim)
	if errors.Is(err, errOtherDriver) {
		return nil, "", nil
	}

	if err != nil {
		return nil, "", err
	}

	class, err := p.defaultSnapshotClass(ctx)

	return class, handle, err
}

// snapshotClass returns nil for one that is another driver's.
func (p *Provisioner) snapshotClass(ctx context.Context, name string) (*VolumeSnapshotClass, error) {
	var one VolumeSnapshotClass

	err := p.Snapshots.Get(ctx, Place{Resource: resourceClasses, Name: name}, &one)
	if err != nil {
		return nil, described(err, "get VolumeSnapshotClass", name)
	}

	if one.Driver != kubernetes.DriverName {
		return nil, nil
	}

	return &one, nil
}

// defaultSnapshotClass is this driver's. Without one nobody could take the snapshot.
func (p *Provisioner) defaultSnapshotClass(ctx context.Context) (*VolumeSnapshotClass, error) {
	var all struct {
		Items []VolumeSnapshotClass `json:"items"`
	}

	if err := p.Snapshots.Get(ctx, Place{Resource: resourceClasses}, &all); err != nil {
		return nil, fmt.Errorf("list VolumeSnapshotClasses: %w", err)
	}

	for _, class := range all.Items {
		if class.Driver == kubernetes.DriverName && class.Metadata.Annotations[annotationDefaultSnapshotClass] == "true" {
			return &class, nil
		}
	}

	return nil, fmt.Errorf("spec.volumeSnapshotClassName is empty, and no VolumeSnapshotClass of driver %s is its default: name one, or annotate one with %s: \"true\"",
		kubernetes.DriverName, annotationDefaultSnapshotClass)
}

// takeSnapshot has the driver take it, between telling the API server that there
// may be one and that there is one.
func (p *Provisioner) takeSnapshot(ctx context.Context, s *VolumeSnapshot, class *VolumeSnapshotClass, handle string) error {
	if err := p.keepSnapshot(ctx, s); err != nil {
		return err
	}

	if err := p.announceContent(ctx, s, class, handle); err != nil {
		return err
	}

	made, err := p.Driver.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{
		Name: snapshotName(s), SourceVolumeId: handle, Parameters: class.Parameters,
	})
	if err != nil {
		return err
	}

	taken := made.GetSnapshot()
	at := taken.GetCreationTime().AsTime()

	err = p.Snapshots.Change(ctx, http.MethodPatch, Place{Resource: resourceContents, Name: contentOf(s)}, patch{"status": patch{
		"snapshotHandle": taken.GetSnapshotId(), "creationTime": at.UnixNano(), "restoreSize": taken.GetSizeBytes(), "readyToUse": true,
	}}, "status")
	if err != nil {
		return described(err, "write the status of VolumeSnapshotContent", contentOf(s))
	}

	err = p.Snapshots.Change(ctx, http.MethodPatch, placeOf(s), of(s.Metadata.UID, nil, patch{"status": patch{
		"boundVolumeSnapshotContentName": contentOf(s), "creationTime": at.UTC().Format(time.RFC3339),
		"restoreSize": strconv.FormatInt(taken.GetSizeBytes(), 10), "readyToUse": true,
	}}), "status")
	if err != nil {
		return described(err, "write the status of VolumeSnapshot", s.Metadata.Namespace+"/"+s.Metadata.Name)
	}

	p.Recorder.Eventf(reference(s), corev1.EventTypeNormal, "SnapshotReady", "took snapshot %s", taken.GetSnapshotId())

	return nil
}

func placeOf(s *VolumeSnapshot) Place {
	return Place{resourceSnapshots, s.Metadata.Namespace, s.Metadata.Name}
}

// reference is what an event is about.
func reference(s *VolumeSnapshot) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: s.Metadata}
	o.SetGroupVersionKind(snapshotVersion().WithKind("VolumeSnapshot"))

	return o
}

// announceContent makes the VolumeSnapshotContent. One that is there already must
// be this VolumeSnapshot's.
func (p *Provisioner) announceContent(ctx context.Context, s *VolumeSnapshot, class *VolumeSnapshotClass, handle string) error {
	err := p.Snapshots.Change(ctx, http.MethodPost, Place{Resource: resourceContents}, map[string]any{
		"apiVersion": snapshotVersion().String(), "kind": "VolumeSnapshotContent",
		"metadata": map[string]any{"name": contentOf(s), "finalizers": []string{snapshotFinalizer}},
		"spec": map[string]any{
			"deletionPolicy": class.DeletionPolicy, "driver": kubernetes.DriverName, "volumeSnapshotClassName": class.Metadata.Name,
			"source": map[string]any{"volumeHandle": handle},
			"volumeSnapshotRef": map[string]any{
				"apiVersion": snapshotVersion().String(), "kind": "VolumeSnapshot",
				"namespace": s.Metadata.Namespace, "name": s.Metadata.Name, "uid": s.Metadata.UID,
			},
		},
	})
	if !apierrors.IsAlreadyExists(err) {
		return described(err, "create VolumeSnapshotContent", contentOf(s))
	}

	have, err := p.getContent(ctx, contentOf(s))
	if err != nil {
		return err
	}

	if have == nil || have.Spec.Ref.UID != s.Metadata.UID || have.Spec.Driver != kubernetes.DriverName {
		return fmt.Errorf("VolumeSnapshotContent %s: somebody else has made it, and not for this VolumeSnapshot: delete it", contentOf(s))
	}

	return nil
}

// keepSnapshot puts the finalizer on, unless it is there.
func (p *Provisioner) keepSnapshot(ctx context.Context, s *VolumeSnapshot) error {
	if has(s.Metadata, snapshotFinalizer) {
		return nil
	}

	err := p.Snapshots.Change(ctx, http.MethodPatch, placeOf(s), finalizersPatch(s.Metadata, append(slices.Clone(s.Metadata.Finalizers), snapshotFinalizer)))

	return described(err, "put the finalizer on VolumeSnapshot", s.Metadata.Namespace+"/"+s.Metadata.Name)
}

// finalizersPatch replaces all finalizers, as a merge patch does with lists; the
// API server refuses it if anybody has changed the object meanwhile.
func finalizersPatch(m metav1.ObjectMeta, finalizers []string) patch {
	return of(m.UID, map[string]any{"resourceVersion": m.ResourceVersion, "finalizers": finalizers}, nil)
}

func without(finalizers []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == one })
}
