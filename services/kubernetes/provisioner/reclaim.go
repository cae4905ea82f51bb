package provisioner

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// volumeMatters reports whether a persistent volume was provisioned by this
// driver. No other is ever touched.
func volumeMatters(pv *corev1.PersistentVolume) bool {
	return pv.Spec.CSI != nil && pv.Spec.CSI.Driver == kubernetes.DriverName && pv.Annotations[annotationProvisionedBy] == kubernetes.DriverName
}

// released reports whether the volume is to be deleted: its claim is gone, and
// whoever made the class wanted it to go with it.
func released(pv *corev1.PersistentVolume) bool {
	return volumeMatters(pv) && pv.Status.Phase == corev1.VolumeReleased && pv.Spec.ClaimRef != nil &&
		pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		(pv.DeletionTimestamp == nil || has(pv.ObjectMeta, volumeFinalizer))
}

// syncVolume does what is to be done about a persistent volume.
func (p *Provisioner) syncVolume(ctx context.Context, pv *corev1.PersistentVolume) error {
	if !released(pv) {
		return p.fitFinalizer(ctx, pv)
	}

	// Somebody may just have changed the policy to Retain.
	pv, err := p.Volumes.Get(ctx, pv.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}

	if err != nil {
		return described(err, "get persistent volume", pv.Name)
	}

	if !released(pv) {
		return nil
	}

	if _, err := p.Driver.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: pv.Spec.CSI.VolumeHandle}); err != nil {
		return err
	}

	err = p.Volumes.Delete(ctx, pv.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pv.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return described(err, "delete persistent volume", pv.Name)
	}

	err = p.patchVolume(ctx, pv, finalizerPatch(pv.UID, volumeFinalizer, false))
	if err != nil && !apierrors.IsNotFound(err) {
		return described(err, "take the finalizer off persistent volume", pv.Name)
	}

	p.Counts.Deleted.Add(1)

	return nil
}

// fitFinalizer sees to it that a persistent volume waits for its volume if that
// is deleted with it, and only then.
func (p *Provisioner) fitFinalizer(ctx context.Context, pv *corev1.PersistentVolume) error {
	want := pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete

	// None can be put on what is being deleted.
	if want == has(pv.ObjectMeta, volumeFinalizer) || want && pv.DeletionTimestamp != nil {
		return nil
	}

	err := p.patchVolume(ctx, pv, finalizerPatch(pv.UID, volumeFinalizer, want))
	if apierrors.IsNotFound(err) {
		return nil
	}

	return described(err, "fit the finalizer of persistent volume", pv.Name)
}
