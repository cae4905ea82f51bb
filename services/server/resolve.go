package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/metadata/files"
	"antler/services/node/config"
)

// ResolveSplitBrain implements antlerv1.ClusterServiceServer. The node whose
// replica would be given up carries it out: it alone can read that.
func (c *clusterService) ResolveSplitBrain(ctx context.Context, request *antlerv1.ResolveSplitBrainRequest) (*antlerv1.ResolveSplitBrainResponse, error) {
	s := c.server
	if s.options.Metadata == nil || s.options.Authority == nil {
		return c.UnimplementedClusterServiceServer.ResolveSplitBrain(ctx, request)
	}

	known, err := s.snapshot(ctx)
	if err != nil {
		return nil, explained(err, "resolve the split brain")
	}

	other, err := known.checkResolve(request)
	if err != nil {
		return nil, err
	}

	if other != known.self {
		return s.resolveAt(ctx, other, request)
	}

	saved, err := s.options.Metadata.SaveAside(ctx)
	if err != nil {
		return nil, problem(codes.FailedPrecondition, "NOT_SAVED", "resolve the split brain: "+err.Error(),
			fmt.Sprintf("nothing was changed; if what %s has is not needed, put a blank disk in the place of its replica's", other))
	}

	reply := known.bothSides(request.GetKeep(), saved)
	if request.GetDiscard() == "" {
		return reply, nil
	}

	err = s.options.Authority.Discard(ctx, other, CallerFrom(ctx).Name, request.GetReason())
	if err != nil {
		return nil, explained(err, "resolve the split brain")
	}

	reply.Recorded = true

	return reply, nil
}

// checkResolve returns the node whose replica would be given up.
func (s snapshot) checkResolve(request *antlerv1.ResolveSplitBrainRequest) (string, error) {
	keep := request.GetKeep()

	other := ""

	for _, member := range s.cluster.With(config.RoleMetadata) {
		if member.Name != keep {
			other = member.Name
		}
	}

	err := s.checkMetadataNode("keep", keep)

	switch {
	case err != nil:
		return "", err
	case other == "":
		return "", problem(codes.FailedPrecondition, "ONE_REPLICA", "resolve the split brain: the cluster has one replica only", "there is nothing to do")
	case request.GetDiscard() != "" && request.GetDiscard() != other:
		return "", badField("discard", fmt.Sprintf("is not the other one, which is %s", other))
	case request.GetDiscard() != "" && strings.TrimSpace(request.GetReason()) == "":
		return "", badField("reason", "is missing: it is kept in the cluster's record")
	case !s.reports[other].Alive:
		return "", problem(codes.FailedPrecondition, "NODE_DOWN", fmt.Sprintf("resolve the split brain: %s was not heard of lately, so what it has can't be saved", other),
			fmt.Sprintf("bring %s back first", other))
	case !s.reports[keep].Report.Replica.SplitBrain && !s.reports[other].Report.Replica.SplitBrain:
		return "", problem(codes.FailedPrecondition, "NO_SPLIT_BRAIN", fmt.Sprintf("resolve the split brain: neither %s nor %s is in one", keep, other),
			"`antlerctl status` says how they are")
	case !s.serves(keep):
		return "", s.notServed(keep, other)
	}

	return other, nil
}

// notServed is the answer where the side to keep isn't the one that counts: to
// change that is another decision, which takes back what the other has served.
func (s snapshot) notServed(keep, other string) error {
	hint := fmt.Sprintf("let it serve first: `antlerctl failover %s --force`; that is a decision of its own", keep)
	if s.serves(other) {
		hint = fmt.Sprintf("to keep what %s serves, name %s; to go back to what %s has, stop %s (its machine off), let %s serve by `antlerctl failover %s --force`, and start %s again",
			other, other, keep, other, keep, keep, other)
	}

	return problem(codes.FailedPrecondition, "NOT_SERVED", fmt.Sprintf("resolve the split brain: %s does not serve, so the other replica can't be filled from it", keep), hint)
}

// resolveAt has the other node carry it out.
func (s *Server) resolveAt(ctx context.Context, node string, request *antlerv1.ResolveSplitBrainRequest) (*antlerv1.ResolveSplitBrainResponse, error) {
	conn, err := s.peers.to(node)
	if err != nil {
		return nil, explained(err, "resolve the split brain")
	}

	reply, err := antlerv1.NewClusterServiceClient(conn).ResolveSplitBrain(onBehalf(ctx), request)
	if err != nil {
		return nil, unreachable(node, err)
	}

	return reply, nil
}

// bothSides says who has what, and what is lost.
func (s snapshot) bothSides(keep string, saved files.Source) *antlerv1.ResolveSplitBrainResponse {
	other := s.self
	upTo := fmt.Sprintf("its metadata reaches version %d%s", saved.Version, lastChangeAt(saved))

	return &antlerv1.ResolveSplitBrainResponse{
		Keep: &antlerv1.SplitBrainSide{
			Node: keep, Version: s.reports[keep].Report.Master.MetaVersion,
			Story: append([]string{fmt.Sprintf("it serves in epoch %d, and its metadata reaches version %d", s.authority.Epoch, s.reports[keep].Report.Master.MetaVersion)}, s.story(keep)...),
		},
		Discard: &antlerv1.SplitBrainSide{
			Node: other, Version: saved.Version, Time: stamp(saved.Time),
			Story: append([]string{upTo}, s.story(other)...),
		},
		Saved: saved.Name,
		GivenUp: []string{
			fmt.Sprintf("every change that only %s has, made after the two replicas parted: versions are counted on from the same one on both sides, so equal numbers do not mean equal changes", other),
			fmt.Sprintf("the data of files that only %s knows of: mfsmaster deletes chunks it does not know, after a week", other),
		},
	}
}

// story is what the quorum knows of the node's part.
func (s snapshot) story(node string) []string {
	var lines []string

	for _, a := range s.authority.Audit {
		if a.Node == node && slices.Contains([]authority.Kind{authority.KindForceGrant, authority.KindRestore}, a.Kind) {
			lines = append(lines, fmt.Sprintf("epoch %d was given to it by the word of %s at %s: %s", a.Epoch, a.Who, time.Unix(a.At, 0).UTC().Format(time.RFC3339), a.Why))
		}
	}

	if release, gave := s.authority.GiveUps[node]; gave {
		lines = append(lines, fmt.Sprintf("it gave up epoch %d: %s", release.Epoch, release.Reason))
	}

	if !slices.Contains(s.authority.UpToDate, node) {
		lines = append(lines, "the quorum does not count on it: writes were acknowledged without it, or a person gave it up")
	}

	return lines
}
