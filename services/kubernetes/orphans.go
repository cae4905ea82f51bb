package kubernetes

import (
	"context"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"go.uber.org/zap"
)

// Lister lists the volumes on the node that serves.
type Lister interface {
	ListVolumes(ctx context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error)
}

// Orphans ends the recorded uses of this node that no mount stands behind: a
// node that lost its power comes back without its mounts, and kubelet unstages
// only what it remembers. Until then a volume for one node would be refused to
// all others.
type Orphans struct {
	Node    *Node
	Volumes Lister
	Logger  *zap.Logger

	// suspects were without a mount in the last pass.
	suspects map[string]bool
}

// orphanInterval is between two passes. A use ends after the second that finds
// nothing mounted.
const orphanInterval = 2 * time.Minute

// Run makes passes until ctx ends.
func (o *Orphans) Run(ctx context.Context) error {
	ticker := time.NewTicker(orphanInterval)
	defer ticker.Stop()

	for {
		if err := o.Pass(ctx); err != nil {
			o.Logger.Info("look for uses of volumes that nothing stands behind", zap.Error(err))
		}

		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Pass ends the uses that were without a mount in this pass and in the last.
func (o *Orphans) Pass(ctx context.Context) error {
	all, err := o.Volumes.ListVolumes(ctx, &csi.ListVolumesRequest{})
	if err != nil {
		return err
	}

	suspects := map[string]bool{}

	for _, entry := range all.GetEntries() {
		id := entry.GetVolume().GetVolumeId()
		if !slices.Contains(entry.GetStatus().GetPublishedNodeIds(), o.Node.Name) {
			continue
		}

		ended, err := o.Node.endUnlessMounted(ctx, id, o.suspects[id])
		if err != nil {
			return err
		}

		if ended {
			suspects[id] = true
		}
	}

	o.suspects = suspects

	return nil
}

// endUnlessMounted reports whether nothing of the volume is mounted on this
// node, and ends its use then if sure is set. A call that works on the volume
// may be about to mount it: then it counts as mounted.
func (n *Node) endUnlessMounted(ctx context.Context, id string, sure bool) (bool, error) {
	h, err := ParseHandle(id)
	if err != nil {
		return false, err
	}

	done, err := n.busy.begin(id)
	if err != nil {
		return false, nil //nolint:nilerr // another call works on it
	}
	defer done()

	mounts, err := n.Mounter.List()
	if err != nil {
		return false, err
	}

	if slices.ContainsFunc(mounts, func(m Mount) bool { return m.Root == rootOf(h.Name) }) {
		return false, nil
	}

	if !sure {
		return true, nil
	}

	if err := n.Own.Remove(ctx, h.ID); err != nil {
		return true, err
	}

	_, err = n.Uses.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: n.Name})

	return true, err
}
