package provisioner

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// source is what the claim's volume begins as a copy of; nil: it begins empty.
func (p *Provisioner) source(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*csi.VolumeContentSource, error) {
	ref := claim.Spec.DataSourceRef

	// An API server of today fills in the one from the other.
	if old := claim.Spec.DataSource; ref == nil && old != nil {
		ref = &corev1.TypedObjectReference{APIGroup: old.APIGroup, Kind: old.Kind, Name: old.Name}
	}

	if ref == nil {
		return nil, nil
	}

	if ref.Namespace != nil && *ref.Namespace != "" && *ref.Namespace != claim.Namespace {
		return nil, fmt.Errorf("claim.spec.dataSourceRef.namespace: volumes of other namespaces (%s) can't be copied: copy within the namespace", *ref.Namespace)
	}

	group := ""
	if ref.APIGroup != nil {
		group = *ref.APIGroup
	}

	switch {
	case group == "" && ref.Kind == "PersistentVolumeClaim":
		handle, err := p.boundTo(ctx, claim.Namespace, ref.Name)

		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
		}}, described(err, "copy", "claim.spec.dataSourceRef")
	case group == snapshotGroup && ref.Kind == "VolumeSnapshot":
		handle, err := p.snapshotOf(ctx, claim.Namespace, ref.Name)

		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: handle},
		}}, described(err, "restore", "claim.spec.dataSourceRef")
	default:
		return nil, fmt.Errorf("claim.spec.dataSourceRef: a %s can't be copied: name a PersistentVolumeClaim or a VolumeSnapshot", ref.Kind)
	}
}

// errOtherDriver: this one has no handle of such a volume.
var errOtherDriver = errors.New("a volume of another driver")

// boundTo is the handle of the volume that a claim is bound to.
func (p *Provisioner) boundTo(ctx context.Context, namespace, name string) (string, error) {
	from, err := p.Claims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get claim %s/%s: %w", namespace, name, err)
	}

	if from.Status.Phase != corev1.ClaimBound || from.DeletionTimestamp != nil {
		return "", fmt.Errorf("claim %s/%s is not bound (yet), or is being deleted", namespace, name)
	}

	pv, err := p.Volumes.Get(ctx, from.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get persistent volume %s: %w", from.Spec.VolumeName, err)
	}

	// Whoever may write a claim must not get at somebody else's volume by it.
	if !sameClaim(pv, from.UID) {
		return "", fmt.Errorf("persistent volume %s is not bound to claim %s/%s", pv.Name, namespace, name)
	}

	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != kubernetes.DriverName {
		return "", fmt.Errorf("claim %s/%s has %w: copy it with a pod", namespace, name, errOtherDriver)
	}

	return pv.Spec.CSI.VolumeHandle, nil
}
