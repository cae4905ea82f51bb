package kubernetes

import (
	"context"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"antler/services/volume"
)

// tokenPrefix begins a token, which is the key of the last entry of a page: one
// that is deleted in between makes no other be missed.
const tokenPrefix = "after="

// paged returns the entries after the token, at most limit, and the token of the
// next page. all are in the order of their keys.
func paged[T any](all []T, key func(T) string, token string, limit int32) ([]T, string, error) {
	if limit < 0 {
		return nil, "", invalid("max_entries: is negative")
	}

	after, known := strings.CutPrefix(token, tokenPrefix)
	if token != "" && !known {
		return nil, "", status.Errorf(codes.Aborted, "starting_token: %.100q was not given here: begin again without one", token)
	}

	var page []T

	for _, entry := range all {
		if known && key(entry) <= after {
			continue
		}

		if limit > 0 && len(page) == int(limit) {
			return page, tokenPrefix + key(page[len(page)-1]), nil
		}

		page = append(page, entry)
	}

	return page, "", nil
}

// ListVolumes implements csi.ControllerServer.
func (c *Controller) ListVolumes(ctx context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	if err := c.serving(); err != nil {
		return nil, err
	}

	all, err := c.Volumes.List(ctx)
	if err != nil {
		return nil, failed(err)
	}

	page, next, err := paged(all, func(v volume.Volume) string { return v.Name }, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}

	out := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range page {
		out.Entries = append(out.Entries, &csi.ListVolumesResponse_Entry{
			Volume: c.volume(v), Status: &csi.ListVolumesResponse_VolumeStatus{PublishedNodeIds: v.Users()},
		})
	}

	return out, nil
}

// GetCapacity implements csi.ControllerServer: what is free on the chunkservers,
// divided by the number of copies. Volumes are quotas, so it is no limit for
// the sum of their sizes.
func (c *Controller) GetCapacity(ctx context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	parameters, err := ParseParameters("parameters", r.GetParameters())
	if err != nil {
		return nil, invalid("%v", err)
	}

	for _, capability := range r.GetVolumeCapabilities() {
		if _, err := checkCapability("volume_capabilities", capability, parameters.MountMode); err != nil {
			return &csi.GetCapacityResponse{}, nil //nolint:nilerr // there is no room for what can't be
		}
	}

	if cluster, named := r.GetAccessibleTopology().GetSegments()[TopologyKey]; named && cluster != c.Cluster {
		return &csi.GetCapacityResponse{}, nil
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	free, err := c.Volumes.Capacity(ctx)
	if err != nil {
		return nil, failed(err)
	}

	copies := max(parameters.Copies, 1)
	if parameters.Copies == 0 && parameters.StorageClass == "" {
		copies = max(c.Copies, 1)
	}

	return &csi.GetCapacityResponse{AvailableCapacity: int64(free / uint64(copies))}, nil
}

// CreateSnapshot implements csi.ControllerServer. It is idempotent by name.
func (c *Controller) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.GetName() == "" {
		return nil, invalid("name: is missing")
	}

	h, err := handleOf("source_volume_id", r.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}

	for key := range r.GetParameters() {
		if !strings.HasPrefix(key, reservedPrefix) {
			return nil, invalid("parameters.%.50s: is unknown: a VolumeSnapshotClass has none", key)
		}
	}

	if err := c.reachable(r.GetAccessibilityRequirements()); err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	s, err := c.Volumes.CreateSnapshot(ctx, nameFor(r.GetName()), h.Name, h.ID, map[string]string{labelName: r.GetName()})
	if err != nil {
		return nil, failed(err)
	}

	return &csi.CreateSnapshotResponse{Snapshot: snapshotOut(s)}, nil
}

// snapshotOut is a snapshot as CSI sees it. Its topology is left out: that says
// that it is to be had wherever its volume is, and csi-test 5.6.0 fails any that
// is given (it compares messages together with their caches).
func snapshotOut(s volume.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: Handle{s.Name, s.ID}.String(), SourceVolumeId: Handle{s.Volume, s.VolumeID}.String(),
		SizeBytes: int64(s.Size), CreationTime: timestamppb.New(s.Created), ReadyToUse: true,
	}
}

// DeleteSnapshot implements csi.ControllerServer.
func (c *Controller) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	h, err := handleOf("snapshot_id", r.GetSnapshotId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteSnapshotResponse{}, nil
	}

	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	return &csi.DeleteSnapshotResponse{}, gone(failed(c.Volumes.DeleteSnapshot(ctx, h.Name, h.ID)))
}

// SnapshotHandleOf returns the handle of the snapshot that CreateSnapshot took for
// a name, empty if there is none.
func (c *Controller) SnapshotHandleOf(ctx context.Context, name string) (string, error) {
	if err := c.serving(); err != nil {
		return "", err
	}

	all, err := c.Volumes.ListSnapshots(ctx)
	if err != nil {
		return "", failed(err)
	}

	for _, s := range all {
		if s.Labels[labelName] == name {
			return Handle{s.Name, s.ID}.String(), nil
		}
	}

	return "", nil
}

// snapshot finds the snapshot of a handle.
func (c *Controller) snapshot(ctx context.Context, h Handle) (volume.Snapshot, error) {
	all, err := c.Volumes.ListSnapshots(ctx)
	if err != nil {
		return volume.Snapshot{}, failed(err)
	}

	for _, s := range all {
		if s.Name == h.Name && s.ID == h.ID {
			return s, nil
		}
	}

	return volume.Snapshot{}, status.Errorf(codes.NotFound, "there is no snapshot %s", h)
}

// GetSnapshot implements csi.ControllerServer.
func (c *Controller) GetSnapshot(ctx context.Context, r *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	h, err := handleOf("snapshot_id", r.GetSnapshotId())
	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	s, err := c.snapshot(ctx, h)
	if err != nil {
		return nil, err
	}

	return &csi.GetSnapshotResponse{Snapshot: snapshotOut(s)}, nil
}

// ListSnapshots implements csi.ControllerServer. Ids that name nothing give an
// empty list.
func (c *Controller) ListSnapshots(ctx context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if err := c.serving(); err != nil {
		return nil, err
	}

	all, err := c.Volumes.ListSnapshots(ctx)
	if err != nil {
		return nil, failed(err)
	}

	var chosen []volume.Snapshot

	for _, s := range all {
		if (r.GetSnapshotId() == "" || r.GetSnapshotId() == Handle{s.Name, s.ID}.String()) &&
			(r.GetSourceVolumeId() == "" || r.GetSourceVolumeId() == Handle{s.Volume, s.VolumeID}.String()) {
			chosen = append(chosen, s)
		}
	}

	page, next, err := paged(chosen, func(s volume.Snapshot) string { return s.Name }, r.GetStartingToken(), r.GetMaxEntries())
	if err != nil {
		return nil, err
	}

	out := &csi.ListSnapshotsResponse{NextToken: next}
	for _, s := range page {
		out.Entries = append(out.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshotOut(s)})
	}

	return out, nil
}
