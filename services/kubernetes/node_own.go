package kubernetes

import (
	"context"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// source opens what a volume's binds are made of, checked. That it is this volume
// is said by its mark, which lies above its data: only the node-wide mount shows
// it, and a master must answer there in either mode.
func (n *Node) source(ctx context.Context, h Handle, mode MountMode) (*os.File, error) {
	data, err := n.Data.OpenData(ctx, h.Name, h.ID)
	if err != nil || mode != MountVolume {
		return data, failed(err)
	}

	_ = data.Close()

	root, err := n.Own.Open(ctx, h.Name, h.ID)

	return root, failed(err)
}

// mountOwn gives the volume its own mount, where the mode asks for one.
func (n *Node) mountOwn(ctx context.Context, h Handle, want use) error {
	if want.mode != MountVolume {
		return nil
	}

	data, err := n.Data.OpenData(ctx, h.Name, h.ID)
	if err != nil {
		return failed(err)
	}

	_ = data.Close()

	return failed(n.Own.Ensure(ctx, h.Name, h.ID, want.options))
}

// unmountOwn ends the volume's own mount, if it has one. What is still bound from
// it would lose its file system, so that is an error.
func (n *Node) unmountOwn(ctx context.Context, id string) error {
	h, err := ParseHandle(id)
	if err != nil {
		return nil //nolint:nilerr // no volume has it, so none is mounted
	}

	mounts, err := n.Mounter.List()
	if err != nil {
		return status.Errorf(codes.Internal, "look for mounts: %v", err)
	}

	for _, m := range mounts {
		if m.Own && !m.Stale && m.Root == rootOf(h.Name) {
			return status.Errorf(codes.FailedPrecondition, "volume %s is still mounted at %s: unpublish it there first", h.Name, m.Path)
		}
	}

	return failed(n.Own.Remove(ctx, h.ID))
}

// sameMode refuses a volume that is mounted in the other mode: its pods would go
// on with what they have.
func (n *Node) sameMode(m Mount, h Handle, mode MountMode) error {
	if m.Own == (mode == MountVolume) {
		return nil
	}

	return status.Errorf(codes.AlreadyExists, "volume %s is mounted at %s in the other %s than %s: stop the pods that use it first",
		h.Name, m.Path, paramMountMode, mode)
}
