package kubernetes

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inFlight lets one call at a time work on a volume. A second one is told to
// come back, as CSI asks for: it would wait for a mount that hangs.
type inFlight struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (f *inFlight) begin(id string) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.ids[id] {
		return nil, status.Errorf(codes.Aborted, "another call works on volume %s: try again", id)
	}

	if f.ids == nil {
		f.ids = map[string]bool{}
	}

	f.ids[id] = true

	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()

		delete(f.ids, id)
	}, nil
}

// checkPath refuses what isn't a clean path below kubelet's directory. Links on
// the way are refused where it is opened.
func (n *Node) checkPath(field, path string) error {
	switch {
	case path == "":
		return invalid("%s: is missing", field)
	case strings.ContainsRune(path, 0) || !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return invalid("%s: %.300q is not a clean absolute path", field, path)
	case !strings.HasPrefix(path, strings.TrimSuffix(n.Kubelet, "/")+"/"):
		return invalid("%s: %.300q is not below kubelet's directory %s (cluster.kubernetes.kubeletDir)", field, path, n.Kubelet)
	}

	return nil
}

// NodeStageVolume implements csi.NodeServer. It records the use of the volume on
// this node first, so that a volume for one node is refused to a second one.
func (n *Node) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	h, want, done, err := n.begin("staging_target_path", r.GetStagingTargetPath(), r)
	if err != nil {
		return nil, err
	}
	defer done()

	_, err = n.Uses.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: r.GetVolumeId(), NodeId: n.Name, VolumeCapability: r.GetVolumeCapability(), VolumeContext: r.GetVolumeContext(),
	})
	if err != nil {
		return nil, err
	}

	err = n.mountOwn(ctx, h, want)
	if err == nil {
		// The attributes are the pod's, and come with its bind.
		err = n.bind(ctx, h, want.mode, r.GetStagingTargetPath(), 0)
	}

	if err != nil {
		return nil, n.release(ctx, h, err)
	}

	return &csi.NodeStageVolumeResponse{}, nil
}

// release ends the use of a volume that could not be staged, unless it is
// mounted somewhere on this node: kubelet need not unstage what was never
// staged, and a volume for one node would be refused to all others. It returns
// err. Where trying again may help, kubelet does, or unstages.
func (n *Node) release(ctx context.Context, h Handle, err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return err
	default:
	}

	mounts, listErr := n.Mounter.List()
	if listErr != nil || slices.ContainsFunc(mounts, func(m Mount) bool { return m.Root == rootOf(h.Name) }) {
		return err
	}

	endErr := n.Own.Remove(ctx, h.ID)
	if endErr == nil {
		_, endErr = n.Uses.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: h.String(), NodeId: n.Name})
	}

	if endErr != nil {
		return status.Errorf(status.Code(err), "%s; and its use on this node could not be ended: %v", status.Convert(err).Message(), endErr)
	}

	return err
}

// staging is what NodeStageVolume and NodePublishVolume are both asked.
type staging interface {
	GetVolumeId() string
	GetVolumeCapability() *csi.VolumeCapability
	GetVolumeContext() map[string]string
}

// begin checks what stage and publish have in common.
func (n *Node) begin(field, path string, r staging) (Handle, use, func(), error) {
	if r.GetVolumeId() == "" {
		return Handle{}, use{}, nil, invalid("volume_id: is missing")
	}

	if err := n.checkPath(field, path); err != nil {
		return Handle{}, use{}, nil, err
	}

	mode, err := modeOf(r.GetVolumeContext())
	if err != nil {
		return Handle{}, use{}, nil, err
	}

	want, err := checkCapability("volume_capability", r.GetVolumeCapability(), mode)
	if err != nil {
		return Handle{}, use{}, nil, err
	}

	h, err := handleOf("volume_id", r.GetVolumeId())
	if err != nil {
		return Handle{}, use{}, nil, err
	}

	done, err := n.busy.begin(r.GetVolumeId())

	return h, want, done, err
}

// bind makes path show the volume, unless it does already.
func (n *Node) bind(ctx context.Context, h Handle, mode MountMode, path string, attributes uint64) error {
	// Also where it is mounted already: what is there must be this volume, and
	// its session must live.
	source, err := n.source(ctx, h, mode)
	if err != nil {
		return err
	}
	defer source.Close()

	m, found, err := n.at(path)
	if err != nil {
		return err
	}

	if found && !m.Stale && m.Root == rootOf(h.Name) {
		return n.sameMode(m, h, mode)
	}

	if found && !m.Stale {
		return status.Errorf(codes.AlreadyExists, "something else is mounted at %s: %s", path, m.Root)
	}

	if found {
		if err := n.Mounter.Unmount(ctx, path); err != nil {
			return status.Errorf(codes.Internal, "take away the stale mount at %s: %v", path, err)
		}
	}

	if err := n.Mounter.Bind(ctx, source, path, attributes); err != nil {
		return status.Errorf(codes.Internal, "bind volume %s to %s: %v", h.Name, path, err)
	}

	return nil
}

// NodeUnstageVolume implements csi.NodeServer. The use of the volume on this node
// ends only after the unmount was verified.
func (n *Node) NodeUnstageVolume(ctx context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	done, err := n.unmount(ctx, r.GetVolumeId(), "staging_target_path", r.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	defer done()

	if err := n.unmountOwn(ctx, r.GetVolumeId()); err != nil {
		return nil, err
	}

	_, err = n.Uses.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: r.GetVolumeId(), NodeId: n.Name})

	return &csi.NodeUnstageVolumeResponse{}, err
}

// NodeUnpublishVolume implements csi.NodeServer.
func (n *Node) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	done, err := n.unmount(ctx, r.GetVolumeId(), "target_path", r.GetTargetPath())
	if err != nil {
		return nil, err
	}
	defer done()

	if err := n.Mounter.Remove(ctx, r.GetTargetPath()); err != nil {
		return nil, status.Errorf(codes.Internal, "remove %s: %v", r.GetTargetPath(), err)
	}

	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *Node) unmount(ctx context.Context, id, field, path string) (func(), error) {
	if id == "" {
		return nil, invalid("volume_id: is missing")
	}

	if err := n.checkPath(field, path); err != nil {
		return nil, err
	}

	done, err := n.busy.begin(id)
	if err != nil {
		return nil, err
	}

	if err := n.Mounter.Unmount(ctx, path); err != nil {
		done()

		return nil, status.Errorf(codes.Internal, "unmount %s: %v", path, err)
	}

	return done, nil
}

// NodePublishVolume implements csi.NodeServer.
func (n *Node) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	h, want, done, err := n.begin("target_path", r.GetTargetPath(), r)
	if err != nil {
		return nil, err
	}
	defer done()

	if err := n.checkPath("staging_target_path", r.GetStagingTargetPath()); err != nil {
		return nil, err
	}

	if err := n.staged(h, r.GetStagingTargetPath()); err != nil {
		return nil, err
	}

	if want.single {
		if err := n.single(h, r); err != nil {
			return nil, err
		}
	}

	if r.GetReadonly() {
		want.attributes |= unix.MOUNT_ATTR_RDONLY
	}

	return &csi.NodePublishVolumeResponse{}, n.bind(ctx, h, want.mode, r.GetTargetPath(), want.attributes)
}

// staged refuses a volume that wasn't: its use is not recorded.
func (n *Node) staged(h Handle, path string) error {
	m, found, err := n.at(path)
	if err != nil {
		return err
	}

	if !found || m.Root != rootOf(h.Name) {
		return status.Errorf(codes.FailedPrecondition, "volume %s is not staged at %s", h.Name, path)
	}

	return nil
}

// single refuses a second path for a volume that may have only one.
func (n *Node) single(h Handle, r *csi.NodePublishVolumeRequest) error {
	mounts, err := n.Mounter.List()
	if err != nil {
		return status.Errorf(codes.Internal, "look for mounts: %v", err)
	}

	for _, m := range mounts {
		if m.Root == rootOf(h.Name) && m.Path != r.GetStagingTargetPath() && m.Path != r.GetTargetPath() {
			return status.Errorf(codes.FailedPrecondition, "volume %s is for one pod, and is mounted at %s", h.Name, m.Path)
		}
	}

	return nil
}
