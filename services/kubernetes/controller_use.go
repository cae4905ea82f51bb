package kubernetes

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

// ControllerPublishVolume implements csi.ControllerServer: it records that a
// node uses the volume, and refuses it where another one's use rules that out.
// Nodes call it when they stage a volume.
func (c *Controller) ControllerPublishVolume(ctx context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("volume_id: is missing")
	}

	if r.GetNodeId() == "" {
		return nil, invalid("node_id: is missing")
	}

	mode, err := modeOf(r.GetVolumeContext())
	if err != nil {
		return nil, err
	}

	want, err := checkCapability("volume_capability", r.GetVolumeCapability(), mode)
	if err != nil {
		return nil, err
	}

	h, err := handleOf("volume_id", r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	if !slices.Contains(c.Nodes, r.GetNodeId()) {
		return nil, status.Errorf(codes.NotFound, "node_id: %.100q is not a node of this cluster", r.GetNodeId())
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	if c.Dead != nil && c.Dead(r.GetNodeId()) {
		return nil, status.Errorf(codes.Unavailable, "node_id: the quorum has recorded that %s is dead: this works again as soon as it has heard of it", r.GetNodeId())
	}

	if err := c.room(ctx, h, r.GetNodeId()); err != nil {
		return nil, err
	}

	_, err = c.Volumes.Use(ctx, h.Name, h.ID, r.GetNodeId(), volume.Use{Alone: want.alone, ReadOnly: want.readOnly || r.GetReadonly()})

	return &csi.ControllerPublishVolumeResponse{}, failed(err)
}

// room refuses a node that uses as many volumes as it may.
func (c *Controller) room(ctx context.Context, h Handle, node string) error {
	if c.MaxVolumes == 0 {
		return nil
	}

	all, err := c.Volumes.List(ctx)
	if err != nil {
		return failed(err)
	}

	used := 0

	for _, v := range all {
		if _, uses := v.Uses[node]; uses && v.Name != h.Name {
			used++
		}
	}

	if used >= c.MaxVolumes {
		return status.Errorf(codes.ResourceExhausted, "%s uses %d volumes and may use %d (cluster.kubernetes.maxVolumes)", node, used, c.MaxVolumes)
	}

	return nil
}

// ControllerUnpublishVolume implements csi.ControllerServer.
func (c *Controller) ControllerUnpublishVolume(ctx context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error) {
	h, err := handleOf("volume_id", r.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &csi.ControllerUnpublishVolumeResponse{}, nil
	}

	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	_, err = c.Volumes.EndUse(ctx, h.Name, h.ID, r.GetNodeId())

	return &csi.ControllerUnpublishVolumeResponse{}, gone(failed(err))
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (c *Controller) ValidateVolumeCapabilities(ctx context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("volume_id: is missing")
	}

	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, invalid("volume_capabilities: are missing")
	}

	if _, err := c.findText(ctx, r.GetVolumeId()); err != nil {
		return nil, err
	}

	if err := validate(r); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}

	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(),
		Parameters: r.GetParameters(), MutableParameters: r.GetMutableParameters(),
	}}, nil
}

// validate says what of the request can't be had.
func validate(r *csi.ValidateVolumeCapabilitiesRequest) error {
	if _, err := ParseParameters("parameters", r.GetParameters()); err != nil {
		return invalid("%v", err)
	}

	mode, err := modeOf(r.GetVolumeContext())
	if err != nil {
		return err
	}

	return checkCapabilities(r.GetVolumeCapabilities(), mode)
}

// findText finds the volume of a handle that wasn't read yet.
func (c *Controller) findText(ctx context.Context, text string) (volume.Volume, error) {
	h, err := handleOf("volume_id", text)
	if err != nil {
		return volume.Volume{}, err
	}

	if err := c.serving(); err != nil {
		return volume.Volume{}, err
	}

	return c.find(ctx, h)
}

// ControllerGetVolume implements csi.ControllerServer.
func (c *Controller) ControllerGetVolume(ctx context.Context, r *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	v, err := c.findText(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	return &csi.ControllerGetVolumeResponse{
		Volume: c.volume(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{PublishedNodeIds: v.Users()},
	}, nil
}

// ControllerGetVolumeHealth implements csi.ControllerServer. That the volume was
// found means that its mark was read from a master that answers; what chunks it
// has on chunkservers is the cluster's health, in `antlerctl status`.
func (c *Controller) ControllerGetVolumeHealth(ctx context.Context, r *csi.ControllerGetVolumeHealthRequest) (*csi.ControllerGetVolumeHealthResponse, error) {
	v, err := c.findText(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: c.health(v)}, nil
}

// fullPercent of the quota is when a volume is reported as degraded: the next
// write may fail.
const fullPercent = 95

func (c *Controller) health(v volume.Volume) *csi.VolumeHealth {
	out := &csi.VolumeHealth{VolumeId: Handle{v.Name, v.ID}.String()}

	if v.Used >= v.Size/100*fullPercent {
		out.HealthStatuses = append(out.HealthStatuses, &csi.VolumeHealth_VolumeHealthEntry{
			Status: csi.VolumeHealthErrorType_DEGRADED, Reason: "NearlyFull",
			Message: "nearly all of its quota is used, and writes will fail: expand it",
		})
	}

	return out
}

// ControllerListVolumeHealth implements csi.ControllerServer: those of which
// there is something to say.
func (c *Controller) ControllerListVolumeHealth(ctx context.Context, r *csi.ControllerListVolumeHealthRequest) (*csi.ControllerListVolumeHealthResponse, error) {
	if err := c.serving(); err != nil {
		return nil, err
	}

	all, err := c.Volumes.List(ctx)
	if err != nil {
		return nil, failed(err)
	}

	healthy := func(v volume.Volume) bool { return len(c.health(v).GetHealthStatuses()) == 0 }

	page, next, err := paged(slices.DeleteFunc(all, healthy), func(v volume.Volume) string { return v.Name }, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}

	out := &csi.ControllerListVolumeHealthResponse{NextToken: next}
	for _, v := range page {
		out.Entries = append(out.Entries, c.health(v))
	}

	return out, nil
}
