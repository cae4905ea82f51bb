package kubernetes

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

// Data is what a node reads of volumes, through its own mount.
type Data interface {
	// OpenData opens a volume's directory after checking that it is that, on a
	// live mount.
	OpenData(ctx context.Context, name, id string) (*os.File, error)
	Quota(ctx context.Context, name, id string) (volume.Quota, error)
}

// Mounter makes and removes binds below kubelet's directory. All of its methods
// return at their deadline.
type Mounter interface {
	// Bind makes target show the opened directory, with attributes of
	// mount_setattr(2). The directory above target must exist.
	Bind(ctx context.Context, source *os.File, target string, attributes uint64) error
	// Unmount takes away what is mounted at target and verifies that nothing is
	// any more. Nothing there is no error.
	Unmount(ctx context.Context, target string) error
	// Remove removes the empty directory target, on which nothing is mounted. One
	// that isn't there is no error.
	Remove(ctx context.Context, target string) error
	// List returns what is mounted below kubelet's directory.
	List() ([]Mount, error)
}

// Mount is something mounted.
type Mount struct {
	// Path where it is, Root what of MooseFS is there, from MooseFS's own root.
	Path, Root string
	// Own: it is a bind of the volume's own mount, and not of the node-wide one.
	Own bool
	// Stale: it is of no mount of this node any more, since mfsmount was started
	// anew.
	Stale bool
}

// VolumeMounts are mounts of single volumes, for MountVolume. They outlive
// antlerd. All of its methods return at their deadline.
type VolumeMounts interface {
	// Ensure makes the mount of a volume, if there is none, with these options of
	// mfsmount, and waits until it lives.
	Ensure(ctx context.Context, name, id string, options []string) error
	// Open opens the root of a mount that Ensure made, after checking that it is
	// live and the volume's.
	Open(ctx context.Context, name, id string) (*os.File, error)
	// Remove ends the mount and verifies that it did. None is no error.
	Remove(ctx context.Context, id string) error
}

// Uses records which node uses a volume, on the node that serves. It is CSI's
// controller client.
type Uses interface {
	ControllerPublishVolume(ctx context.Context, r *csi.ControllerPublishVolumeRequest) (*csi.ControllerPublishVolumeResponse, error)
	ControllerUnpublishVolume(ctx context.Context, r *csi.ControllerUnpublishVolumeRequest) (*csi.ControllerUnpublishVolumeResponse, error)
}

// Node is CSI's node service.
type Node struct {
	csi.UnimplementedNodeServer

	// Name of this node in the cluster, and the cluster's id.
	Name, Cluster string
	// Kubelet is kubelet's directory; every path must be below it.
	Kubelet    string
	Data       Data
	Mounter    Mounter
	Own        VolumeMounts
	Uses       Uses
	MaxVolumes int

	// busy are the volumes that a call works on.
	busy inFlight
}

// NodeGetCapabilities implements csi.NodeServer.
func (n *Node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	out := &csi.NodeGetCapabilitiesResponse{}

	for _, rpc := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_GET_STORAGE_HEALTH,
	} {
		out.Capabilities = append(out.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: rpc}},
		})
	}

	return out, nil
}

// NodeGetInfo implements csi.NodeServer.
func (n *Node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: n.Name, MaxVolumesPerNode: int64(n.MaxVolumes), AccessibleTopology: topologyOf(n.Cluster),
	}, nil
}

// rootOf is what a bind of the volume shows of MooseFS. It is also what
// /proc/self/mountinfo says of the bind, as long as nobody renames the volume.
func rootOf(name string) string { return volume.PathOf(name) }

// at returns what is mounted at path.
func (n *Node) at(path string) (Mount, bool, error) {
	mounts, err := n.Mounter.List()
	if err != nil {
		return Mount{}, false, status.Errorf(codes.Internal, "look for mounts: %v", err)
	}

	// The last one is on top.
	for _, m := range slices.Backward(mounts) {
		if m.Path == path {
			return m, true, nil
		}
	}

	return Mount{}, false, nil
}

// NodeGetVolumeStats implements csi.NodeServer. Used is what counts against the
// quota, without walking the tree.
func (n *Node) NodeGetVolumeStats(ctx context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	q, err := n.mounted(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}

	usage := []*csi.VolumeUsage{usageOf(csi.VolumeUsage_BYTES, q.Used, q.Limit)}

	// Without a limit there is no number of inodes that could be called the total.
	if q.InodeLimit > 0 {
		usage = append(usage, usageOf(csi.VolumeUsage_INODES, q.UsedInodes, q.InodeLimit))
	}

	return &csi.NodeGetVolumeStatsResponse{Usage: usage}, nil
}

func usageOf(unit csi.VolumeUsage_Unit, used, limit uint64) *csi.VolumeUsage {
	used = min(used, limit)

	return &csi.VolumeUsage{Unit: unit, Total: int64(limit), Used: int64(used), Available: int64(limit - used)}
}

// mounted returns the quota of the volume, which must be mounted at path.
func (n *Node) mounted(ctx context.Context, id, path string) (volume.Quota, error) {
	if id == "" {
		return volume.Quota{}, invalid("volume_id: is missing")
	}

	if path == "" {
		return volume.Quota{}, invalid("volume_path: is missing")
	}

	h, err := handleOf("volume_id", id)
	if err != nil {
		return volume.Quota{}, err
	}

	m, found, err := n.at(path)
	if err != nil {
		return volume.Quota{}, err
	}

	if !found || m.Root != rootOf(h.Name) {
		return volume.Quota{}, status.Errorf(codes.NotFound, "volume_path: volume %s is not mounted at %.300q", h.Name, path)
	}

	q, err := n.Data.Quota(ctx, h.Name, h.ID)

	return q, failed(err)
}

// NodeExpandVolume implements csi.NodeServer: a quota holds at once, so it only
// looks.
func (n *Node) NodeExpandVolume(ctx context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	q, err := n.mounted(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}

	return &csi.NodeExpandVolumeResponse{CapacityBytes: int64(q.Limit)}, nil
}

// NodeGetVolumeHealth implements csi.NodeServer.
func (n *Node) NodeGetVolumeHealth(ctx context.Context, r *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	h, err := handleOf("volume_id", r.GetVolumeId())
	if err != nil {
		return nil, err
	}

	out := &csi.VolumeHealth{VolumeId: r.GetVolumeId()}

	add := func(reason, message string) {
		out.HealthStatuses = append(out.HealthStatuses, &csi.VolumeHealth_VolumeHealthEntry{
			Status: csi.VolumeHealthErrorType_INACCESSIBLE, Reason: reason, Message: message,
		})
	}

	mounts, err := n.Mounter.List()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "look for mounts: %v", err)
	}

	if slices.ContainsFunc(mounts, func(m Mount) bool { return m.Stale && m.Root == rootOf(h.Name) }) {
		add("StaleMount", "mfsmount was started anew since the pod was: start the pod anew")
	}

	mode := MountShared
	if slices.ContainsFunc(mounts, func(m Mount) bool { return m.Own && m.Root == rootOf(h.Name) }) {
		mode = MountVolume
	}

	data, err := n.source(ctx, h, mode)
	if err != nil {
		add("NotReachable", status.Convert(err).Message())
	} else {
		_ = data.Close()
	}

	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: out}, nil
}

// healthDeadline for the answer of a mount.
const healthDeadline = 2 * time.Second

// NodeGetStorageHealth implements csi.NodeServer.
func (n *Node) NodeGetStorageHealth(ctx context.Context, _ *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()

	// Any name does: what is asked is whether there is an answer.
	_, err := n.Data.OpenData(ctx, "none", "")
	if status.Code(failed(err)) == codes.NotFound {
		return &csi.NodeGetStorageHealthResponse{}, nil
	}

	return &csi.NodeGetStorageHealthResponse{BackendHealth: []*csi.NodeGetStorageHealthResponse_StorageBackendHealth{{
		Status: csi.StorageHealthErrorType_STORAGE_UNREACHABLE, Reason: "NotReachable", Message: failed(err).Error(),
	}}}, nil
}
