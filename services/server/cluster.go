package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
)

// askWait is what another node gets to answer a part of the status.
const askWait = time.Second

type clusterService struct {
	antlerv1.UnimplementedClusterServiceServer
	server *Server
}

// GetStatus implements antlerv1.ClusterServiceServer.
func (c *clusterService) GetStatus(ctx context.Context, request *antlerv1.GetStatusRequest) (*antlerv1.GetStatusResponse, error) {
	known, err := c.server.snapshot(ctx)
	if err != nil {
		return nil, explained(err, "get status")
	}

	status := known.status()

	if !request.GetLocal() {
		status = c.server.askOthers(ctx, status)
	}

	return &antlerv1.GetStatusResponse{Cluster: status}, nil
}

// askOthers fills in what only the other nodes know of themselves. A node that
// was cut off gives the answer of one that was not.
func (s *Server) askOthers(ctx context.Context, own *antlerv1.ClusterStatus) *antlerv1.ClusterStatus {
	others := s.askAll(ctx, own)

	if !own.Authority.Quorum {
		for _, other := range others {
			if other.Authority.Quorum {
				own = other

				break
			}
		}
	}

	for _, other := range others {
		if other != own {
			take(own, other)
		}
	}

	(*problemList)(&own.Problems).sort()
	own.Health = healthOf(own)

	return own
}

// take adds to a node's answer what another knows of itself.
func take(into, from *antlerv1.ClusterStatus) {
	name := from.AnsweredBy
	serves := into.Serving.Node == name && from.Serving.Node == name && from.Serving.Epoch == into.Serving.Epoch

	if serves {
		into.Serving = from.Serving
		// Of what concerns nobody alone, who serves knows best: a moment after a
		// takeover the others take for lost what is on its way back.
		into.Problems = slices.DeleteFunc(into.Problems, func(p *antlerv1.Problem) bool { return p.Node == "" })
	}

	for i, node := range into.Nodes {
		if node.Name == name {
			node.Error = from.Nodes[i].Error
		}
	}

	for _, problem := range from.Problems {
		known := slices.ContainsFunc(into.Problems, func(p *antlerv1.Problem) bool { return p.Summary == problem.Summary })
		if !known && (problem.Node == name || serves && problem.Node == "") {
			into.Problems = append(into.Problems, problem)
		}
	}
}

// askAll returns what the other nodes know, in their order, of those that
// answer at once. Those known to be down are not waited for.
func (s *Server) askAll(ctx context.Context, own *antlerv1.ClusterStatus) []*antlerv1.ClusterStatus {
	answers := make([]*antlerv1.ClusterStatus, len(own.Nodes))

	var wait sync.WaitGroup

	for i, node := range own.Nodes {
		if own.Authority.Quorum && !node.Alive {
			continue
		}

		wait.Go(func() { answers[i] = s.ask(ctx, node.Name) })
	}

	wait.Wait()

	return slices.DeleteFunc(answers, func(c *antlerv1.ClusterStatus) bool { return c == nil || len(c.Nodes) != len(own.Nodes) })
}

// ask returns what another node knows, or nil if it doesn't say at once.
func (s *Server) ask(ctx context.Context, node string) *antlerv1.ClusterStatus {
	if node == s.options.Config.Node.Name {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()

	conn, err := s.peers.to(node)
	if err != nil {
		return nil
	}

	reply, err := antlerv1.NewClusterServiceClient(conn).GetStatus(onBehalf(ctx), &antlerv1.GetStatusRequest{Local: true})
	if err != nil {
		return nil
	}

	return reply.GetCluster()
}

// holder is the node that serves, for calls that it must carry out.
func (s *Server) holder(ctx context.Context) (string, error) {
	known, err := s.snapshot(ctx)
	if err != nil {
		return "", explained(err, "find out who serves")
	}

	node := known.serving()
	if node != "" {
		return node, nil
	}

	var list problemList

	known.servingProblems(&list)

	return "", problem(codes.Unavailable, "NOBODY_SERVES", list[0].Summary, list[0].Advice)
}

// WatchEvents implements antlerv1.ClusterServiceServer.
func (c *clusterService) WatchEvents(request *antlerv1.WatchEventsRequest, stream antlerv1.ClusterService_WatchEventsServer) error {
	query := Query{Tail: int(request.GetTail()), Follow: request.GetFollow()}

	if request.Since != nil {
		if request.Since.CheckValid() != nil {
			return badField("since", "is not a time")
		}

		query.Since = request.Since.AsTime()
	}

	send := func(event Event) error {
		return stream.Send(&antlerv1.WatchEventsResponse{Event: eventToAPI(event)})
	}

	if request.GetLocal() {
		return explained(c.server.options.Events.Watch(stream.Context(), query, send), "watch events")
	}

	return explained(c.server.watchAll(stream.Context(), query, send), "watch events")
}

// moveWait bounds a switchover or failover whose caller set no deadline.
const moveWait = 2 * time.Minute

// Switchover implements antlerv1.ClusterServiceServer.
func (c *clusterService) Switchover(request *antlerv1.SwitchoverRequest, stream antlerv1.ClusterService_SwitchoverServer) error {
	s := c.server
	if s.options.Authority == nil {
		return c.UnimplementedClusterServiceServer.Switchover(request, stream)
	}

	known, err := s.snapshot(stream.Context())
	if err != nil {
		return explained(err, "switch over")
	}

	target, err := known.switchoverTarget(request.GetTarget())
	if err != nil {
		return err
	}

	m := &move{
		server: s,
		target: target,
		before: known.authority,
		began:  s.options.Now(),
		send: func(p *antlerv1.Progress) error {
			return stream.Send(&antlerv1.SwitchoverResponse{Progress: p})
		},
	}

	if !request.GetNow() {
		known, err = m.awaitCompared(stream.Context())
		if err != nil {
			return err
		}

		m.before, m.began = known.authority, s.options.Now()
	}

	if known.serves(target) {
		return m.done(known)
	}

	return m.run(stream.Context(), fmt.Sprintf("switch over to %s", target), func(ctx context.Context) error {
		return s.options.Authority.SetTarget(ctx, target)
	})
}

// Failover implements antlerv1.ClusterServiceServer.
func (c *clusterService) Failover(request *antlerv1.FailoverRequest, stream antlerv1.ClusterService_FailoverServer) error {
	s := c.server
	if s.options.Authority == nil {
		return c.UnimplementedClusterServiceServer.Failover(request, stream)
	}

	known, err := s.snapshot(stream.Context())
	if err != nil {
		return explained(err, "fail over")
	}

	target, reason := request.GetTarget(), request.GetReason()

	err = known.checkFailover(target, reason, request.GetForce())
	if err != nil {
		return err
	}

	m := &move{
		server: s,
		target: target,
		before: known.authority,
		began:  s.options.Now(),
		send: func(p *antlerv1.Progress) error {
			return stream.Send(&antlerv1.FailoverResponse{Progress: p})
		},
		forced: true,
	}

	who := CallerFrom(stream.Context()).Name

	return m.run(stream.Context(), fmt.Sprintf("fail over to %s", target), func(ctx context.Context) error {
		return s.options.Authority.ForceGrant(ctx, target, who, reason)
	})
}
