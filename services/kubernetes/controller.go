package kubernetes

import (
	"context"
	"maps"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

// Volumes are those of the cluster, as *volume.Store keeps them.
type Volumes interface {
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	Get(ctx context.Context, name string) (volume.Volume, error)
	List(ctx context.Context) ([]volume.Volume, error)
	Expand(ctx context.Context, name string, size uint64) (volume.Volume, error)
	Modify(ctx context.Context, name, id string, m volume.Modification) (volume.Volume, error)
	DeleteUnused(ctx context.Context, name, id string, keep time.Duration) (volume.Archived, error)
	Use(ctx context.Context, name, id, node string, use volume.Use) (volume.Volume, error)
	EndUse(ctx context.Context, name, id, node string) (volume.Volume, error)
	Capacity(ctx context.Context) (uint64, error)

	CreateSnapshot(ctx context.Context, name, of, id string, labels map[string]string) (volume.Snapshot, error)
	DeleteSnapshot(ctx context.Context, name, id string) error
	ListSnapshots(ctx context.Context) ([]volume.Snapshot, error)
}

// Controller is CSI's controller service. It works on the node that serves.
type Controller struct {
	csi.UnimplementedControllerServer

	Volumes Volumes
	// Cluster is the cluster's id, by which topology tells its nodes.
	Cluster string
	// Nodes are the names of its members.
	Nodes []string
	// Serving returns an error while this node may not change anything.
	Serving func() error
	// Dead reports whether the quorum has recorded that a node is dead: its uses end,
	// and none begins before it is heard of again. nil is that no node ever is.
	Dead func(node string) bool
	// Copies is the cluster's default.
	Copies int
	// MaxVolumes that one node may use at once; 0 is any number.
	MaxVolumes int
}

// defaultSize of a volume of which nobody says how large it is, in bytes.
const defaultSize = 1 << 30

// ControllerGetCapabilities implements csi.ControllerServer.
func (c *Controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	out := &csi.ControllerGetCapabilitiesResponse{}

	for _, rpc := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_READONLY,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
	} {
		out.Capabilities = append(out.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: rpc}},
		})
	}

	return out, nil
}

// serving refuses controller work where it isn't done.
func (c *Controller) serving() error {
	if err := c.Serving(); err != nil {
		return status.Errorf(codes.Unavailable, "this node doesn't serve now, try again: %v", err)
	}

	return nil
}

// CreateVolume implements csi.ControllerServer. It is idempotent by name.
func (c *Controller) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	spec, parameters, err := c.specOf(r)
	if err != nil {
		return nil, err
	}

	if err := c.reachable(r.GetAccessibilityRequirements()); err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	if spec.Size == 0 {
		spec.Size, err = c.sizeLike(ctx, spec.Source, r.GetCapacityRange())
		if err != nil {
			return nil, err
		}
	}

	made, err := c.Volumes.Create(ctx, spec)
	if err != nil {
		return nil, failed(err)
	}

	out := c.volume(made)
	out.ContentSource, out.VolumeContext = r.GetVolumeContentSource(), parameters.context()

	return &csi.CreateVolumeResponse{Volume: out}, nil
}

// specOf checks the request. The size is 0 if it is the source's.
func (c *Controller) specOf(r *csi.CreateVolumeRequest) (volume.Spec, Parameters, error) {
	var spec volume.Spec

	if r.GetName() == "" {
		return spec, Parameters{}, invalid("name: is missing")
	}

	merged, parameters, err := mergedParameters(r)
	if err != nil {
		return spec, parameters, err
	}

	if err := checkCapabilities(r.GetVolumeCapabilities(), parameters.MountMode); err != nil {
		return spec, parameters, err
	}

	spec = volume.Spec{
		Name: nameFor(r.GetName()), Copies: parameters.Copies, StorageClass: parameters.StorageClass,
		TrashTime: parameters.TrashTime, InodeLimit: parameters.InodeLimit, Labels: parameters.labels(r.GetName()),
	}

	if len(parameters.Template) > 0 {
		spec.Name, err = parameters.Template.name(merged)
		if err != nil {
			return spec, parameters, invalid("parameters.%s: %v", paramNameTemplate, err)
		}
	}

	spec.Source, err = sourceOf(r.GetVolumeContentSource())
	if err != nil {
		return spec, parameters, err
	}

	spec.Size, err = sizeOf(r.GetCapacityRange(), spec.Source != volume.Source{})

	return spec, parameters, err
}

// mergedParameters are those of the StorageClass with those of the
// VolumeAttributesClass over them, as they were written and read.
func mergedParameters(r *csi.CreateVolumeRequest) (map[string]string, Parameters, error) {
	merged := maps.Clone(r.GetParameters())
	if merged == nil {
		merged = map[string]string{}
	}

	if _, err := parseMutable(r.GetMutableParameters()); err != nil {
		return nil, Parameters{}, err
	}

	maps.Copy(merged, r.GetMutableParameters())

	parameters, err := ParseParameters("parameters", merged)
	if err != nil {
		return nil, Parameters{}, invalid("%v", err)
	}

	return merged, parameters, nil
}

// parseMutable reads the parameters of a VolumeAttributesClass.
func parseMutable(parameters map[string]string) (Parameters, error) {
	out, err := ParseParameters("mutable_parameters", parameters)
	if err == nil {
		err = out.mutable("mutable_parameters")
	}

	if err != nil {
		return out, invalid("%v", err)
	}

	return out, nil
}

func sourceOf(s *csi.VolumeContentSource) (volume.Source, error) {
	switch {
	case s.GetSnapshot() != nil:
		h, err := handleOf("volume_content_source.snapshot.snapshot_id", s.GetSnapshot().GetSnapshotId())

		return volume.Source{Snapshot: h.Name, ID: h.ID}, err
	case s.GetVolume() != nil:
		h, err := handleOf("volume_content_source.volume.volume_id", s.GetVolume().GetVolumeId())

		return volume.Source{Volume: h.Name, ID: h.ID}, err
	case s != nil:
		return volume.Source{}, invalid("volume_content_source: names neither a snapshot nor a volume")
	default:
		return volume.Source{}, nil
	}
}

// sizeOf chooses a size in the range. Where nothing is asked for it is 0 for a
// copy, and a default for an empty volume.
func sizeOf(r *csi.CapacityRange, isCopy bool) (uint64, error) {
	required, limit := r.GetRequiredBytes(), r.GetLimitBytes()

	switch {
	case required < 0 || limit < 0:
		return 0, invalid("capacity_range: is negative")
	case limit > 0 && limit < required:
		return 0, invalid("capacity_range: its limit of %d bytes is below the %d required", limit, required)
	case required > volume.MaxSize || limit > 0 && limit < volume.MinSize:
		return 0, status.Errorf(codes.OutOfRange, "capacity_range: no size between %d and %d bytes is in it", uint64(volume.MinSize), uint64(volume.MaxSize))
	case required > 0:
		return max(uint64(required), volume.MinSize), nil
	case isCopy:
		return 0, nil
	case limit > 0:
		return min(uint64(limit), defaultSize), nil
	default:
		return defaultSize, nil
	}
}

// sizeLike is the size of a source.
func (c *Controller) sizeLike(ctx context.Context, source volume.Source, r *csi.CapacityRange) (uint64, error) {
	var size uint64

	if source.Volume != "" {
		v, err := c.Volumes.Get(ctx, source.Volume)
		if err != nil {
			return 0, failed(err)
		}

		size = v.Size
	} else {
		s, err := c.snapshot(ctx, Handle{source.Snapshot, source.ID})
		if err != nil {
			return 0, err
		}

		size = s.Size
	}

	if limit := r.GetLimitBytes(); limit > 0 && uint64(limit) < size {
		return 0, status.Errorf(codes.OutOfRange, "capacity_range: the source has %d bytes and the limit is %d", size, limit)
	}

	return size, nil
}

// TopologyKey is the label that tells the nodes of this cluster from others.
const TopologyKey = DriverName + "/cluster"

func (c *Controller) topology() *csi.Topology { return topologyOf(c.Cluster) }

func topologyOf(cluster string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: cluster}}
}

// reachable refuses a requirement that no node of this cluster meets.
func (c *Controller) reachable(r *csi.TopologyRequirement) error {
	if len(r.GetRequisite()) == 0 {
		return nil
	}

	for _, t := range r.GetRequisite() {
		if cluster, named := t.GetSegments()[TopologyKey]; !named || cluster == c.Cluster {
			return nil
		}
	}

	return status.Errorf(codes.ResourceExhausted, "accessibility_requirements: they are met by nodes of other clusters only, this is %s", c.Cluster)
}

// volume as CSI sees it.
func (c *Controller) volume(v volume.Volume) *csi.Volume {
	out := &csi.Volume{
		VolumeId: Handle{v.Name, v.ID}.String(), CapacityBytes: int64(v.Size),
		AccessibleTopology: []*csi.Topology{c.topology()},
	}

	switch {
	case v.Source.Volume != "":
		out.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: Handle{v.Source.Volume, v.Source.ID}.String()},
		}}
	case v.Source.Snapshot != "":
		out.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: Handle{v.Source.Snapshot, v.Source.ID}.String()},
		}}
	}

	return out
}

// find returns the volume of a handle.
func (c *Controller) find(ctx context.Context, h Handle) (volume.Volume, error) {
	v, err := c.Volumes.Get(ctx, h.Name)
	if err != nil {
		return v, failed(err)
	}

	if v.ID != h.ID {
		return v, status.Errorf(codes.NotFound, "there is no volume %s: the one called %s now is another", h, h.Name)
	}

	return v, nil
}

// DeleteVolume implements csi.ControllerServer: the volume goes to the archive.
func (c *Controller) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	h, err := handleOf("volume_id", r.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteVolumeResponse{}, nil
	}

	if err != nil {
		return nil, err
	}

	if err := c.serving(); err != nil {
		return nil, err
	}

	v, err := c.Volumes.Get(ctx, h.Name)
	if err == nil {
		_, err = c.Volumes.DeleteUnused(ctx, h.Name, h.ID, archiveTime(v.Labels))
	}

	return &csi.DeleteVolumeResponse{}, gone(failed(err))
}

// HandleOf returns the handle of the volume that CreateVolume made for a name,
// empty if there is none.
func (c *Controller) HandleOf(ctx context.Context, name string) (string, error) {
	all, err := c.Volumes.List(ctx)
	if err != nil {
		return "", failed(err)
	}

	for _, v := range all {
		if v.Labels[labelName] == name {
			return Handle{v.Name, v.ID}.String(), nil
		}
	}

	return "", nil
}
