package provisioner

import (
	"context"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// Annotations by which the controller manager and the scheduler say what they
// want (component-helpers/storage/volume, and external-provisioner).
const (
	annotationProvisioner     = "volume.kubernetes.io/storage-provisioner"
	annotationProvisionerBeta = "volume.beta.kubernetes.io/storage-provisioner"
	annotationSelectedNode    = "volume.kubernetes.io/selected-node"
	annotationClassBeta       = "volume.beta.kubernetes.io/storage-class"
	annotationProvisionedBy   = "pv.kubernetes.io/provisioned-by"
)

// claimFinalizer is on a claim while its volume may exist and its persistent
// volume doesn't.
const claimFinalizer = kubernetes.DriverName + "/provisioning"

// nameOf is the name of a claim's persistent volume, and what CSI calls the
// volume: the same whoever asks, and no other claim's, ever.
func nameOf(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// ours reports whether a claim is for this driver to provision.
func ours(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Annotations[annotationProvisioner] == kubernetes.DriverName ||
		claim.Annotations[annotationProvisionerBeta] == kubernetes.DriverName
}

func has(meta metav1.ObjectMeta, finalizer string) bool {
	return slices.Contains(meta.Finalizers, finalizer)
}

// claimMatters reports whether there may be something to do about a claim.
func claimMatters(claim *corev1.PersistentVolumeClaim) bool {
	return has(claim.ObjectMeta, claimFinalizer) || claim.DeletionTimestamp == nil && (claim.Spec.VolumeName == "" && ours(claim) || wantsMore(claim) || wantsOtherAttributes(claim))
}

// syncClaim does what is to be done about a claim.
func (p *Provisioner) syncClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.DeletionTimestamp == nil && claim.Spec.VolumeName == "" {
		if !ours(claim) {
			return nil
		}

		return p.provision(ctx, claim)
	}

	if has(claim.ObjectMeta, claimFinalizer) {
		if err := p.settle(ctx, claim); err != nil {
			return err
		}
	}

	if claim.DeletionTimestamp != nil {
		return nil
	}

	return p.change(ctx, claim)
}

// change gives a bound claim what it asks for by now. What can't be had of one
// kind doesn't keep the other waiting.
func (p *Provisioner) change(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	var failed failures

	if wantsMore(claim) {
		if err := p.expand(ctx, claim); err != nil {
			failed = append(failed, failure{reasonExpand, err})
		}
	}

	if wantsOtherAttributes(claim) {
		if err := p.modify(ctx, claim); err != nil {
			failed = append(failed, failure{reasonModify, err})
		}
	}

	if len(failed) == 0 {
		return nil
	}

	return failed
}

// settle ends the provisioning of a claim that is bound or deleted. A volume
// that no persistent volume tells of would be forgotten, so it goes first. A
// claim that was bound to another persistent volume meanwhile has one, too.
func (p *Provisioner) settle(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	_, err := p.Volumes.Get(ctx, nameOf(claim), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for persistent volume %s: %w", nameOf(claim), err)
	}

	if apierrors.IsNotFound(err) {
		handle, err := p.Driver.HandleOf(ctx, nameOf(claim))
		if err != nil {
			return err
		}

		if handle != "" {
			if _, err := p.Driver.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: handle}); err != nil {
				return err
			}
		}
	}

	return p.dropClaimFinalizer(ctx, claim)
}

// keepClaim puts the finalizer on and returns the claim as it is now. A claim of
// the same name that is another one is refused by the API server.
func (p *Provisioner) keepClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	patched, err := p.patchClaim(ctx, claim, finalizerPatch(claim.UID, claimFinalizer, true))
	if err != nil {
		return nil, fmt.Errorf("put the finalizer on claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}

	return patched, nil
}

func (p *Provisioner) dropClaimFinalizer(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	_, err := p.patchClaim(ctx, claim, finalizerPatch(claim.UID, claimFinalizer, false))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("take the finalizer off claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}

	return nil
}

// classOf is the name of a claim's StorageClass.
func classOf(claim *corev1.PersistentVolumeClaim) string {
	if name, set := claim.Annotations[annotationClassBeta]; set {
		return name
	}

	if claim.Spec.StorageClassName == nil {
		return ""
	}

	return *claim.Spec.StorageClassName
}
