package provisioner

import (
	"context"
	"net/http"

	"github.com/container-storage-interface/spec/lib/go/csi"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// deletionPolicyDelete of a VolumeSnapshotContent: its snapshot goes with it.
const deletionPolicyDelete = "Delete"

// forgetSnapshot ends a VolumeSnapshot that is being deleted: the snapshot goes
// first, where the policy says so, and what tells of it last.
func (p *Provisioner) forgetSnapshot(ctx context.Context, s *VolumeSnapshot) error {
	if !has(s.Metadata, snapshotFinalizer) {
		return nil
	}

	content, err := p.getContent(ctx, contentOf(s))
	if err != nil {
		return err
	}

	// None: it was deleted before anything was made.
	if content != nil && content.Spec.Ref.UID == s.Metadata.UID && content.Spec.Driver == kubernetes.DriverName {
		if err := p.forgetContent(ctx, s, content); err != nil {
			return err
		}
	}

	err = p.Snapshots.Change(ctx, http.MethodPatch, placeOf(s), finalizersPatch(s.Metadata, without(s.Metadata.Finalizers, snapshotFinalizer)))
	if apierrors.IsNotFound(err) {
		return nil
	}

	return described(err, "take the finalizer off VolumeSnapshot", s.Metadata.Namespace+"/"+s.Metadata.Name)
}

// forgetContent deletes a content with its snapshot, or leaves both to whoever
// wanted them retained.
func (p *Provisioner) forgetContent(ctx context.Context, s *VolumeSnapshot, content *VolumeSnapshotContent) error {
	at := Place{Resource: resourceContents, Name: content.Metadata.Name}

	if content.Spec.DeletionPolicy == deletionPolicyDelete {
		if err := p.deleteSnapshot(ctx, s, content); err != nil {
			return err
		}

		err := p.Snapshots.Change(ctx, http.MethodDelete, at, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(content.Metadata.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return described(err, "delete VolumeSnapshotContent", at.Name)
		}
	}

	// As it is now: deleting it has changed it.
	now, err := p.getContent(ctx, at.Name)
	if err != nil || now == nil || !has(now.Metadata, snapshotFinalizer) {
		return err
	}

	err = p.Snapshots.Change(ctx, http.MethodPatch, at, finalizersPatch(now.Metadata, without(now.Metadata.Finalizers, snapshotFinalizer)))
	if apierrors.IsNotFound(err) {
		return nil
	}

	return described(err, "take the finalizer off VolumeSnapshotContent", at.Name)
}

// deleteSnapshot deletes a content's snapshot, also one whose handle was never
// written down.
func (p *Provisioner) deleteSnapshot(ctx context.Context, s *VolumeSnapshot, content *VolumeSnapshotContent) error {
	handle := content.Status.Handle
	if handle == "" {
		found, err := p.Driver.SnapshotHandleOf(ctx, snapshotName(s))
		if err != nil {
			return err
		}

		handle = found
	}

	if handle == "" {
		return nil
	}

	_, err := p.Driver.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: handle})

	return err
}
