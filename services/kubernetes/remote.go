package kubernetes

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Remote is the controller on the node that serves, wherever that is.
type Remote struct{ Controller csi.ControllerClient }

// remoteDeadline for an answer. Kubelet asks again after an error.
const remoteDeadline = 30 * time.Second

// ControllerPublishVolume implements Uses.
func (r Remote) ControllerPublishVolume(ctx context.Context, in *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteDeadline)
	defer cancel()

	return r.Controller.ControllerPublishVolume(ctx, in)
}

// ListVolumes implements Lister.
func (r Remote) ListVolumes(ctx context.Context, in *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteDeadline)
	defer cancel()

	return r.Controller.ListVolumes(ctx, in)
}

// ControllerUnpublishVolume implements Uses.
func (r Remote) ControllerUnpublishVolume(ctx context.Context, in *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteDeadline)
	defer cancel()

	return r.Controller.ControllerUnpublishVolume(ctx, in)
}
