package provisioner

import (
	"context"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/services/kubernetes"
)

// Parameters that tell the driver what a volume is for, and the one of a
// StorageClass that is a capability (external-provisioner's names).
const (
	parameterClaim     = "csi.storage.k8s.io/pvc/name"
	parameterNamespace = "csi.storage.k8s.io/pvc/namespace"
	parameterVolume    = "csi.storage.k8s.io/pv/name"
	parameterFSType    = "csi.storage.k8s.io/fstype"
)

// provision makes a claim's volume and its persistent volume.
func (p *Provisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, err := p.class(ctx, claim)
	if err != nil {
		return err
	}

	ready, err := p.placed(ctx, claim, class)
	if err != nil || !ready {
		return err
	}

	request, err := p.request(ctx, claim, class)
	if err != nil {
		return err
	}

	claim, err = p.keepClaim(ctx, claim)
	if err != nil {
		return err
	}

	// What was known of it may have been old.
	if claim.Spec.VolumeName != "" {
		return p.settle(ctx, claim)
	}

	made, err := p.Driver.CreateVolume(ctx, request)
	if final(err) {
		// A claim for which nothing was made must not wait for us to be deleted.
		return both(err, p.settle(ctx, claim))
	}

	if err != nil {
		return err
	}

	isNew, err := p.announce(ctx, persistentVolume(claim, class, made.GetVolume(), request))
	if err != nil {
		return err
	}

	// Until it is bound a claim may be looked at more than once.
	if isNew {
		p.Counts.Provisioned.Add(1)
		p.Recorder.Eventf(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "made volume %s", made.GetVolume().GetVolumeId())
	}

	return p.dropClaimFinalizer(ctx, claim)
}

// final reports whether the driver surely has not done what it was asked for, nor
// would if it were asked the same again.
func final(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}

// class returns the claim's StorageClass.
func (p *Provisioner) class(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, error) {
	name := classOf(claim)

	class, err := p.Classes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get StorageClass %q: %w", name, err)
	}

	if class.Provisioner != kubernetes.DriverName {
		return nil, fmt.Errorf("StorageClass %s: its provisioner is %s by now: make a new claim", name, class.Provisioner)
	}

	return class, nil
}

// placed reports whether the claim need not wait for the scheduler, which with
// WaitForFirstConsumer names a node. If none of this cluster's it is asked for
// another one.
func (p *Provisioner) placed(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (bool, error) {
	if class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		return true, nil
	}

	name := claim.Annotations[annotationSelectedNode]
	if name == "" {
		return false, nil
	}

	node, err := p.Nodes.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("get node %s, which the scheduler has chosen: %w", name, err)
	}

	if err == nil && node.Labels[kubernetes.TopologyKey] == p.Cluster {
		return true, nil
	}

	_, err = p.patchClaim(ctx, claim, of(claim.UID, map[string]any{"annotations": map[string]any{annotationSelectedNode: nil}}, nil))
	if err != nil {
		return false, fmt.Errorf("ask the scheduler for another node than %s: %w", name, err)
	}

	return false, fmt.Errorf("node %s, which the scheduler has chosen, can't mount volumes of cluster %s: its label %s says so: the scheduler is asked for another one",
		name, p.Cluster, kubernetes.TopologyKey)
}

// request is what CSI is asked for.
func (p *Provisioner) request(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*csi.CreateVolumeRequest, error) {
	if claim.Spec.Selector != nil {
		return nil, fmt.Errorf("claim.spec.selector: a volume that is made for a claim can't be selected by labels: remove it")
	}

	parameters := maps.Clone(class.Parameters)
	if parameters == nil {
		parameters = map[string]string{}
	}

	maps.Copy(parameters, map[string]string{
		parameterClaim: claim.Name, parameterNamespace: claim.Namespace, parameterVolume: nameOf(claim),
	})

	capabilities, err := capabilitiesOf(claim, class)
	if err != nil {
		return nil, err
	}

	mutable, err := p.mutable(ctx, claim)
	if err != nil {
		return nil, err
	}

	source, err := p.source(ctx, claim)
	if err != nil {
		return nil, err
	}

	return &csi.CreateVolumeRequest{
		Name: nameOf(claim), Parameters: parameters, MutableParameters: mutable,
		VolumeCapabilities: capabilities, VolumeContentSource: source,
		CapacityRange: &csi.CapacityRange{
			RequiredBytes: claim.Spec.Resources.Requests.Storage().Value(),
			LimitBytes:    claim.Spec.Resources.Limits.Storage().Value(),
		},
	}, nil
}

// capabilitiesOf returns one for each access mode.
func capabilitiesOf(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) ([]*csi.VolumeCapability, error) {
	modes := map[corev1.PersistentVolumeAccessMode]csi.VolumeCapability_AccessMode_Mode{
		corev1.ReadWriteOnce:    csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		corev1.ReadWriteOncePod: csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
		corev1.ReadWriteMany:    csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
		corev1.ReadOnlyMany:     csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
	}

	var out []*csi.VolumeCapability

	for _, name := range claim.Spec.AccessModes {
		mode, known := modes[name]
		if !known {
			return nil, fmt.Errorf("claim.spec.accessModes: %q is unknown", name)
		}

		capability := &csi.VolumeCapability{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{
				FsType: class.Parameters[parameterFSType], MountFlags: class.MountOptions,
			}},
		}

		if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock {
			capability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}

		out = append(out, capability)
	}

	return out, nil
}

// mutable are the parameters of the claim's VolumeAttributesClass, if it has one.
func (p *Provisioner) mutable(ctx context.Context, claim *corev1.PersistentVolumeClaim) (map[string]string, error) {
	if claim.Spec.VolumeAttributesClassName == nil || *claim.Spec.VolumeAttributesClassName == "" {
		return nil, nil
	}

	name := *claim.Spec.VolumeAttributesClassName

	class, err := p.AttributesClasses.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get VolumeAttributesClass %q: %w", name, err)
	}

	return class.Parameters, ofThisDriver(class)
}

// ofThisDriver refuses a class of another driver.
func ofThisDriver(class *storagev1.VolumeAttributesClass) error {
	if class.DriverName == kubernetes.DriverName {
		return nil
	}

	return status.Errorf(codes.InvalidArgument, "VolumeAttributesClass %s: is of driver %s, not %s: name another class in the claim",
		class.Name, class.DriverName, kubernetes.DriverName)
}

// announce creates the persistent volume and reports whether it is new. One that
// is there already must be the same claim's, and of the same volume.
func (p *Provisioner) announce(ctx context.Context, pv *corev1.PersistentVolume) (bool, error) {
	_, err := p.Volumes.Create(ctx, pv, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err == nil, described(err, "create persistent volume", pv.Name)
	}

	have, err := p.Volumes.Get(ctx, pv.Name, metav1.GetOptions{})
	if err != nil {
		return false, described(err, "get persistent volume", pv.Name)
	}

	if !sameClaim(have, pv.Spec.ClaimRef.UID) || have.Spec.CSI == nil || have.Spec.CSI.VolumeHandle != pv.Spec.CSI.VolumeHandle {
		return false, fmt.Errorf("persistent volume %s: somebody else has made it, and not for this claim: delete it", pv.Name)
	}

	return false, nil
}

func sameClaim(pv *corev1.PersistentVolume, uid types.UID) bool {
	return pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.UID == uid
}
