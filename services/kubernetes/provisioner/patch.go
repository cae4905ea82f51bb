package provisioner

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// patch is a strategic merge patch: lists like finalizers and conditions are
// merged by the API server, so that nobody else's entries are lost.
type patch map[string]any

// of returns a patch with the parts, which the API server refuses for another
// object than the one with this UID.
func of(uid types.UID, metadata map[string]any, parts patch) patch {
	if metadata == nil {
		metadata = map[string]any{}
	}

	metadata["uid"] = uid

	out := patch{"metadata": metadata}
	for key, part := range parts {
		out[key] = part
	}

	return out
}

// finalizerPatch puts a finalizer on or takes it off.
func finalizerPatch(uid types.UID, finalizer string, on bool) patch {
	if on {
		return of(uid, map[string]any{"finalizers": []string{finalizer}}, nil)
	}

	return of(uid, map[string]any{"$deleteFromPrimitiveList/finalizers": []string{finalizer}}, nil)
}

func (p *Provisioner) patchClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, change patch, subresources ...string) (*corev1.PersistentVolumeClaim, error) {
	content, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}

	return p.Claims(claim.Namespace).Patch(ctx, claim.Name, types.StrategicMergePatchType, content, metav1.PatchOptions{}, subresources...)
}

func (p *Provisioner) patchVolume(ctx context.Context, pv *corev1.PersistentVolume, change patch) error {
	content, err := json.Marshal(change)
	if err != nil {
		return err
	}

	_, err = p.Volumes.Patch(ctx, pv.Name, types.StrategicMergePatchType, content, metav1.PatchOptions{})

	return err
}
