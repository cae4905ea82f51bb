package provisioner

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// attributesWanted and attributesHad are the names of a claim's
// VolumeAttributesClasses, empty for none.
func attributesWanted(claim *corev1.PersistentVolumeClaim) string {
	return value(claim.Spec.VolumeAttributesClassName)
}

func attributesHad(claim *corev1.PersistentVolumeClaim) string {
	return value(claim.Status.CurrentVolumeAttributesClassName)
}

func value(name *string) string {
	if name == nil {
		return ""
	}

	return *name
}

// wantsOtherAttributes reports whether a bound claim asks for another
// VolumeAttributesClass than it has, or has an attempt in its status that must
// come to its end. None is nothing to ask for: it wouldn't say what to change.
func wantsOtherAttributes(claim *corev1.PersistentVolumeClaim) bool {
	if claim.Status.Phase != corev1.ClaimBound {
		return false
	}

	want := attributesWanted(claim)

	return claim.Status.ModifyVolumeStatus != nil || want != "" && want != attributesHad(claim)
}

// modify gives a bound claim's volume the parameters of the claim's
// VolumeAttributesClass, if the volume is this driver's. What was begun with
// another class may be half done, so that is carried out first, as
// external-resizer does.
func (p *Provisioner) modify(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	pv, err := p.ourVolumeOf(ctx, claim)
	if err != nil || pv == nil {
		return err
	}

	if begun := claim.Status.ModifyVolumeStatus; begun != nil && begun.Status == corev1.PersistentVolumeClaimModifyVolumeInProgress &&
		begun.TargetVolumeAttributesClassName != attributesWanted(claim) {
		if err := p.modifyTo(ctx, claim, pv, begun.TargetVolumeAttributesClassName); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}

	want := attributesWanted(claim)
	if want == "" || want == attributesHad(claim) {
		return p.notToModify(ctx, claim)
	}

	return p.modifyTo(ctx, claim, pv, want)
}

// ourVolumeOf returns the persistent volume of a bound claim, nil if it is another
// driver's.
func (p *Provisioner) ourVolumeOf(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	pv, err := p.Volumes.Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, described(err, "get persistent volume", claim.Spec.VolumeName)
	}

	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != kubernetes.DriverName {
		return nil, nil
	}

	if !sameClaim(pv, claim.UID) {
		return nil, fmt.Errorf("persistent volume %s is not bound to this claim", pv.Name)
	}

	return pv, nil
}

// modifyTo carries out one class, and says so in the claim's status from the
// beginning to the end.
func (p *Provisioner) modifyTo(ctx context.Context, claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, name string) error {
	class, err := p.AttributesClasses.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return both(described(err, "get VolumeAttributesClass", name),
			p.modifying(ctx, claim, name, corev1.PersistentVolumeClaimModifyVolumePending))
	}

	if err != nil {
		return described(err, "get VolumeAttributesClass", name)
	}

	if err := p.modifying(ctx, claim, name, corev1.PersistentVolumeClaimModifyVolumeInProgress,
		p.condition(corev1.PersistentVolumeClaimVolumeModifyingVolume, "")); err != nil {
		return err
	}

	if err := p.callModify(ctx, class, pv); err != nil {
		return both(err, p.notModified(ctx, claim, name, err))
	}

	// The claim is the last to say so: as long as it doesn't, all of it is done again.
	err = p.patchVolume(ctx, pv, of(pv.UID, nil, patch{"spec": patch{"volumeAttributesClassName": name}}))
	if err != nil {
		return described(err, "write the VolumeAttributesClass of persistent volume", pv.Name)
	}

	if err := p.modified(ctx, claim, patch{"currentVolumeAttributesClassName": name}); err != nil {
		return err
	}

	claim.Status.CurrentVolumeAttributesClassName, claim.Status.ModifyVolumeStatus = &name, nil

	p.Counts.Modified.Add(1)
	p.Recorder.Eventf(claim, corev1.EventTypeNormal, "VolumeModifySuccessful", "the volume is as VolumeAttributesClass %s says now", name)

	return nil
}

func (p *Provisioner) callModify(ctx context.Context, class *storagev1.VolumeAttributesClass, pv *corev1.PersistentVolume) error {
	if err := ofThisDriver(class); err != nil {
		return err
	}

	_, err := p.Driver.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
		VolumeId: pv.Spec.CSI.VolumeHandle, MutableParameters: class.Parameters,
	})

	return err
}

// modifying says in the claim's status how far a modification is.
func (p *Provisioner) modifying(ctx context.Context, claim *corev1.PersistentVolumeClaim, target string,
	how corev1.PersistentVolumeClaimModifyVolumeStatus, conditions ...corev1.PersistentVolumeClaimCondition,
) error {
	change := patch{"modifyVolumeStatus": corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: target, Status: how}}
	if len(conditions) > 0 {
		change["conditions"] = conditions
	}

	return p.patchStatus(ctx, claim, change)
}

// notModified says why it was not. What the driver refuses for good is
// infeasible: then the claim may go back to the class that it has.
func (p *Provisioner) notModified(ctx context.Context, claim *corev1.PersistentVolumeClaim, target string, why error) error {
	how := corev1.PersistentVolumeClaimModifyVolumeInProgress
	if final(why) {
		how = corev1.PersistentVolumeClaimModifyVolumeInfeasible
	}

	return p.modifying(ctx, claim, target, how, p.condition(corev1.PersistentVolumeClaimVolumeModifyVolumeError, text(why)))
}

// notToModify ends an attempt that nobody asks for any more and that changed
// nothing.
func (p *Provisioner) notToModify(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Status.ModifyVolumeStatus == nil {
		return nil
	}

	return p.modified(ctx, claim, patch{})
}

// modified takes the signs of an attempt out of the claim's status, and makes
// the change to it.
func (p *Provisioner) modified(ctx context.Context, claim *corev1.PersistentVolumeClaim, change patch) error {
	change["modifyVolumeStatus"] = nil
	change["conditions"] = []any{
		noCondition(corev1.PersistentVolumeClaimVolumeModifyingVolume), noCondition(corev1.PersistentVolumeClaimVolumeModifyVolumeError),
	}

	return p.patchStatus(ctx, claim, change)
}
