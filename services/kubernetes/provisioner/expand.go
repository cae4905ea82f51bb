package provisioner

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wantsMore reports whether a bound claim asks for more than it has. One that did
// and no longer does has an attempt in its status that must come to its end.
func wantsMore(claim *corev1.PersistentVolumeClaim) bool {
	have, known := claim.Status.Capacity[corev1.ResourceStorage]
	if !known || claim.Status.Phase != corev1.ClaimBound {
		return false
	}

	_, begun := claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage]
	more := claim.Spec.Resources.Requests.Storage().Cmp(have)

	return more > 0 || begun && more == 0
}

// expand makes a bound claim's volume larger, if it is this driver's. Whether its
// class allows it was the API server's question when the claim was changed.
func (p *Provisioner) expand(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	pv, err := p.ourVolumeOf(ctx, claim)
	if err != nil || pv == nil {
		return err
	}

	want := *claim.Spec.Resources.Requests.Storage()

	// A quota counts what is allocated from here on.
	if err := p.expanding(ctx, claim, want); err != nil {
		return err
	}

	made, err := p.Driver.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: pv.Spec.CSI.VolumeHandle, CapacityRange: &csi.CapacityRange{RequiredBytes: want.Value()},
	})
	if err != nil {
		return both(err, p.notExpanded(ctx, claim, err))
	}

	if made.GetNodeExpansionRequired() {
		return fmt.Errorf("the driver wants the node to expand volume %s, which it never should", pv.Spec.CSI.VolumeHandle)
	}

	size := *resource.NewQuantity(made.GetCapacityBytes(), resource.BinarySI)

	err = p.patchVolume(ctx, pv, of(pv.UID, nil, patch{"spec": patch{"capacity": corev1.ResourceList{corev1.ResourceStorage: size}}}))
	if err != nil {
		return described(err, "write the new size of persistent volume", pv.Name)
	}

	if err := p.expanded(ctx, claim, size); err != nil {
		return err
	}

	p.Counts.Expanded.Add(1)
	p.Recorder.Eventf(claim, corev1.EventTypeNormal, "VolumeResizeSuccessful", "the volume has %s now", size.String())

	return nil
}

// expanding says in the claim's status that its volume is being expanded.
func (p *Provisioner) expanding(ctx context.Context, claim *corev1.PersistentVolumeClaim, want resource.Quantity) error {
	return p.patchStatus(ctx, claim, patch{
		"allocatedResources":        corev1.ResourceList{corev1.ResourceStorage: want},
		"allocatedResourceStatuses": patch{string(corev1.ResourceStorage): corev1.PersistentVolumeClaimControllerResizeInProgress},
		"conditions":                []any{p.condition(corev1.PersistentVolumeClaimResizing, "")},
	})
}

// notExpanded says why it was not.
func (p *Provisioner) notExpanded(ctx context.Context, claim *corev1.PersistentVolumeClaim, why error) error {
	change := patch{"conditions": []any{p.condition(corev1.PersistentVolumeClaimControllerResizeError, text(why))}}

	// Then the claim may be made smaller again.
	if final(why) {
		change["allocatedResourceStatuses"] = patch{string(corev1.ResourceStorage): corev1.PersistentVolumeClaimControllerResizeInfeasible}
	}

	return p.patchStatus(ctx, claim, change)
}

// expanded says that it was. There is nothing to do on the nodes: a quota holds
// at once everywhere.
func (p *Provisioner) expanded(ctx context.Context, claim *corev1.PersistentVolumeClaim, size resource.Quantity) error {
	return p.patchStatus(ctx, claim, patch{
		"capacity":                  corev1.ResourceList{corev1.ResourceStorage: size},
		"allocatedResourceStatuses": patch{string(corev1.ResourceStorage): nil},
		"conditions": []any{
			noCondition(corev1.PersistentVolumeClaimResizing), noCondition(corev1.PersistentVolumeClaimControllerResizeError),
			noCondition(corev1.PersistentVolumeClaimFileSystemResizePending),
		},
	})
}

func (p *Provisioner) condition(kind corev1.PersistentVolumeClaimConditionType, message string) corev1.PersistentVolumeClaimCondition {
	return corev1.PersistentVolumeClaimCondition{
		Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(p.Now()), Message: message,
	}
}

// noCondition takes a condition away.
func noCondition(kind corev1.PersistentVolumeClaimConditionType) patch {
	return patch{"$patch": "delete", "type": kind}
}

func (p *Provisioner) patchStatus(ctx context.Context, claim *corev1.PersistentVolumeClaim, change patch) error {
	_, err := p.patchClaim(ctx, claim, of(claim.UID, nil, patch{"status": change}), "status")

	return described(err, "write the status of claim", claim.Namespace+"/"+claim.Name)
}
