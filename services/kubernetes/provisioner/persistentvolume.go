package provisioner

import (
	"maps"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// volumeFinalizer is on a persistent volume whose volume is to be deleted with
// it, until it is. It has external-provisioner's name, so that either can take
// over from the other.
const volumeFinalizer = "external-provisioner.volume.kubernetes.io/finalizer"

// persistentVolume is what tells Kubernetes of a volume.
func persistentVolume(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, made *csi.Volume, request *csi.CreateVolumeRequest) *corev1.PersistentVolume {
	reclaim := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}

	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        nameOf(claim),
			Annotations: map[string]string{annotationProvisionedBy: kubernetes.DriverName},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			MountOptions:                  class.MountOptions,
			PersistentVolumeReclaimPolicy: reclaim,
			VolumeAttributesClassName:     claim.Spec.VolumeAttributesClassName,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(made.GetCapacityBytes(), resource.BinarySI)},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: affinity(made.GetAccessibleTopology()),
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: kubernetes.DriverName, VolumeHandle: made.GetVolumeId(), VolumeAttributes: made.GetVolumeContext(),
				FSType: request.GetVolumeCapabilities()[0].GetMount().GetFsType(),
			}},
		},
	}

	if reclaim == corev1.PersistentVolumeReclaimDelete {
		pv.Finalizers = []string{volumeFinalizer}
	}

	return pv
}

// affinity to the nodes from which the volume is to be had.
func affinity(topologies []*csi.Topology) *corev1.VolumeNodeAffinity {
	var terms []corev1.NodeSelectorTerm

	for _, topology := range topologies {
		var term corev1.NodeSelectorTerm

		for _, key := range slices.Sorted(maps.Keys(topology.GetSegments())) {
			term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{
				Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{topology.GetSegments()[key]},
			})
		}

		terms = append(terms, term)
	}

	if len(terms) == 0 {
		return nil
	}

	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: terms}}
}
