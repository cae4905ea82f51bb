package server

import (
	"context"
	"fmt"
	"strings"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

// ReplaceNode implements antlerv1.ClusterServiceServer.
func (c *clusterService) ReplaceNode(ctx context.Context, request *antlerv1.ReplaceNodeRequest) (*antlerv1.ReplaceNodeResponse, error) {
	s := c.server
	if s.options.Voters == nil {
		return c.UnimplementedClusterServiceServer.ReplaceNode(ctx, request)
	}

	known, err := s.snapshot(ctx)
	if err != nil {
		return nil, explained(err, "replace a node")
	}

	node := request.GetNode()

	err = known.checkReplace(node, request.GetForget(), request.GetReason())
	if err != nil {
		return nil, err
	}

	found, err := s.options.Voters.Replacement(ctx, node)
	if err != nil {
		return nil, explained(err, "")
	}

	reply := &antlerv1.ReplaceNodeResponse{Node: node, OldStore: found.Old, NewStore: found.New, GivenUp: known.givenUp(node, found.Old)}
	if member, _ := known.cluster.Member(node); member.Has(config.RoleMetadata) {
		reply.Replica = known.nodeStatus(member).Replica
	}

	if request.GetForget() == "" {
		return reply, nil
	}

	who := CallerFrom(ctx).Name

	err = s.options.Voters.ReplaceStore(ctx, node, request.GetForget(), who, request.GetReason())
	if err != nil {
		return nil, explained(err, "")
	}

	s.options.Events.Emit("authority.store-replaced", known.authority.Epoch,
		fmt.Sprintf("%s votes with store %s; %s was given up by %s: %s", node, found.New, request.GetForget(), who, request.GetReason()))

	reply.Done = true

	return reply, nil
}

func (s snapshot) checkReplace(node, forget, reason string) error {
	if _, found := s.cluster.Member(node); !found {
		var names []string
		for _, m := range s.cluster.Voters() {
			names = append(names, m.Name)
		}

		return badField("node", fmt.Sprintf("%q is not a node of this cluster: name one of %s", node, strings.Join(names, ", ")))
	}

	if forget != "" && strings.TrimSpace(reason) == "" {
		return badField("reason", "is missing: it is kept in the cluster's record")
	}

	return nil
}

// givenUp is what is lost for good when the node's old store is.
func (s snapshot) givenUp(node, store string) []string {
	lost := []string{
		fmt.Sprintf("store %s, the memory of the old %s: should its disk turn up again, it won't be let in", store, node),
	}

	member, _ := s.cluster.Member(node)

	if member.Has(config.RoleMetadata) {
		lost = append(lost, fmt.Sprintf("nothing of the metadata: a blank replica on %s is filled from the other one", node))
	}

	if member.Has(config.RoleChunkserver) {
		lost = append(lost, fmt.Sprintf("the chunks on disks that %s no longer has: MooseFS makes those copies again from the others, if there are others", node))
	}

	return lost
}
