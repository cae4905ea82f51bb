package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/volume"
)

// Release implements antlerv1.VolumeServiceServer.
func (v *volumeService) Release(ctx context.Context, r *antlerv1.VolumeServiceReleaseRequest) (*antlerv1.VolumeServiceReleaseResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Release(ctx, r)
	}

	known, err := v.server.snapshot(ctx)
	if err != nil {
		return nil, explained(err, "release a volume")
	}

	node := r.GetNode()

	found, err := v.store().Get(ctx, r.GetName())
	if err != nil {
		return nil, explained(err, "")
	}

	if err := known.checkReleased(found, node); err != nil {
		return nil, err
	}

	use, others := usesOf(found, node)
	reply := &antlerv1.VolumeServiceReleaseResponse{Use: use, Others: others, Done: use == nil}

	if use == nil {
		return reply, nil
	}

	if err := known.checkAway(found.Name, node, r.GetForce()); err != nil {
		return nil, err
	}

	if report := known.reports[node]; !report.Alive {
		reply.LastHeard = stamp(report.LastSeen)
	}

	if !r.GetConfirm() {
		return reply, nil
	}

	if _, err := v.store().EndUse(ctx, found.Name, found.ID, node); err != nil {
		return nil, explained(err, "")
	}

	v.server.options.Events.Emit("volume.released", known.authority.Epoch,
		fmt.Sprintf("volume %s is free for other nodes: %s says that %s, which used it, is without power or was reset", found.Name, CallerFrom(ctx).Name, node))

	reply.Done = true

	return reply, nil
}

// checkReleased finds names that are written wrong: the node is one of the cluster, or
// was one and still uses the volume.
func (s snapshot) checkReleased(v volume.Volume, node string) error {
	if node == "" {
		return badField("node", "is missing: name the node that is away for good")
	}

	_, member := s.cluster.Member(node)
	if _, uses := v.Uses[node]; member || uses {
		return nil
	}

	return badField("node", fmt.Sprintf("%q is not a node of this cluster, and doesn't use %s (its users: %s)", node, v.Name, orNone(v.UsersText())))
}

// checkAway: the pods of a node that is heard of may write.
func (s snapshot) checkAway(name, node string, force bool) error {
	if force || !s.reports[node].Alive {
		return nil
	}

	return problem(codes.FailedPrecondition, "NODE_ALIVE", fmt.Sprintf("release %s from %s: that node was heard of a moment ago, and may write to it", name, node),
		fmt.Sprintf("end its pods there, and the volume is free by itself; if you have just cut its power, try again when `antlerctl status` shows that %s is down; --force releases it all the same", node))
}

// usesOf parts a node's use of the volume from the others'.
func usesOf(v volume.Volume, node string) (use *antlerv1.VolumeUse, others []*antlerv1.VolumeUse) {
	others = usesToAPI(v)
	if i := slices.IndexFunc(others, func(u *antlerv1.VolumeUse) bool { return u.GetNode() == node }); i >= 0 {
		return others[i], slices.Delete(slices.Clone(others), i, i+1)
	}

	return nil, others
}

func usesToAPI(v volume.Volume) (out []*antlerv1.VolumeUse) {
	for _, node := range v.Users() {
		use := v.Uses[node]
		out = append(out, &antlerv1.VolumeUse{Node: node, Alone: use.Alone, ReadOnly: use.ReadOnly, Since: stamp(use.Since)})
	}

	return out
}
