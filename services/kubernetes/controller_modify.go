package kubernetes

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

// ControllerExpandVolume implements csi.ControllerServer. A size that the volume
// has already is no error; making it smaller is refused.
func (c *Controller) ControllerExpandVolume(ctx context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	h, err := handleOf("volume_id", r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	if r.GetCapacityRange() == nil {
		return nil, invalid("capacity_range: is missing")
	}

	size, err := sizeOf(r.GetCapacityRange(), true)
	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	v, err := c.find(ctx, h)
	if err != nil {
		return nil, err
	}

	if limit := r.GetCapacityRange().GetLimitBytes(); limit > 0 && uint64(limit) < v.Size {
		return nil, status.Errorf(codes.OutOfRange, "volume %s has %d bytes, of which %d are used, and can't be shrunk to %d: create a smaller one and copy",
			h.Name, v.Size, v.Used, limit)
	}

	if size > v.Size {
		v, err = c.Volumes.Expand(ctx, h.Name, size)
	}

	if err != nil {
		return nil, failed(err)
	}

	// A quota holds at once on all nodes: there is nothing to do on them.
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: int64(v.Size)}, nil
}

// ControllerModifyVolume implements csi.ControllerServer.
func (c *Controller) ControllerModifyVolume(ctx context.Context, r *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	h, err := handleOf("volume_id", r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	p, err := parseMutable(r.GetMutableParameters())
	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	m := volume.Modification{Copies: p.Copies, StorageClass: p.StorageClass, TrashTime: p.TrashTime, InodeLimit: p.InodeLimit}
	if p.ArchiveTime != 0 {
		m.Labels = map[string]string{labelArchive: p.ArchiveTime.String()}
	}

	_, err = c.Volumes.Modify(ctx, h.Name, h.ID, m)

	return &csi.ControllerModifyVolumeResponse{}, failed(err)
}
