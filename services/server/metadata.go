package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/metadata/files"
	"antler/services/node/config"
)

// Metadata is what this node keeps of the metadata.
type Metadata interface {
	// Sources are all places of this node that exist.
	Sources() []files.Source
	// Fetch hands each the files that a restore from the source needs.
	Fetch(name string, each func(file string, chunk []byte) error) error
	// Save has the master on this node save all it has.
	Save(ctx context.Context) error
	// SaveAside copies what the replica on this node holds, while it is mounted
	// nowhere, to another place of this node.
	SaveAside(ctx context.Context) (files.Source, error)
}

type metadataService struct {
	antlerv1.UnimplementedMetadataServiceServer
	server *Server
}

const (
	// sourcesWait is what a node gets to be reached and to read its changelogs.
	sourcesWait = 15 * time.Second
	// sourcesRetry is the pause before a node is asked again.
	sourcesRetry = 200 * time.Millisecond
)

// ListSources implements antlerv1.MetadataServiceServer.
func (m *metadataService) ListSources(ctx context.Context, request *antlerv1.ListSourcesRequest) (*antlerv1.ListSourcesResponse, error) {
	s := m.server
	if s.options.Metadata == nil {
		return m.UnimplementedMetadataServiceServer.ListSources(ctx, request)
	}

	known, err := s.snapshot(ctx)
	if err != nil {
		return nil, explained(err, "list the sources of metadata")
	}

	reply := &antlerv1.ListSourcesResponse{ServedVersion: known.authority.MetaVersion, ServedId: known.authority.MetadataID}

	for _, source := range s.options.Metadata.Sources() {
		reply.Sources = append(reply.Sources, known.sourceToAPI(source))
	}

	if !request.GetLocal() {
		s.askSources(ctx, reply)
		known.addClosedReplicas(reply)
	}

	for _, source := range reply.Sources {
		if !source.Current {
			source.LostChanges = known.lostChanges(source.Version)
		}
	}

	slices.SortStableFunc(reply.Sources, func(a, b *antlerv1.MetadataSource) int { return cmp.Compare(b.Version, a.Version) })

	return reply, nil
}

func (s snapshot) sourceToAPI(source files.Source) *antlerv1.MetadataSource {
	out := &antlerv1.MetadataSource{
		Name: source.Name, Path: source.Path, Version: source.Version, MetadataId: source.ID, Problem: source.Problem,
	}

	if !source.Time.IsZero() {
		out.Time = timestamppb.New(source.Time)
	}

	out.LostChanges = s.lostChanges(source.Version)

	return out
}

// lostChanges are those that were served and that a source of the version lacks,
// as far as the quorum has recorded.
func (s snapshot) lostChanges(version uint64) uint64 {
	return max(s.authority.MetaVersion, version) - version
}

// askSources adds what the other nodes have.
func (s *Server) askSources(ctx context.Context, reply *antlerv1.ListSourcesResponse) {
	ctx, cancel := context.WithTimeout(ctx, sourcesWait)
	defer cancel()

	nodes := s.options.Config.Cluster.Nodes
	answers := make([]*antlerv1.ListSourcesResponse, len(nodes))

	var wait sync.WaitGroup

	for i, member := range nodes {
		if member.Name == s.options.Config.Node.Name {
			continue
		}

		wait.Go(func() {
			answers[i] = s.askSourcesOf(ctx, member.Name)
		})
	}

	wait.Wait()

	for i, member := range nodes {
		switch {
		case answers[i] != nil:
			reply.Sources = append(reply.Sources, answers[i].Sources...)
		case member.Name != s.options.Config.Node.Name:
			reply.Silent = append(reply.Silent, member.Name)
		}
	}
}

// askSourcesOf returns what another node has, or nil if it doesn't say in time. A
// node that has just come back must not pass for one that has nothing: its
// connection may be waiting for the next attempt, or be from before its power cut
// and end with the question.
func (s *Server) askSourcesOf(ctx context.Context, node string) *antlerv1.ListSourcesResponse {
	conn, err := s.peers.to(node)
	if err != nil {
		return nil
	}

	for {
		answer, err := antlerv1.NewMetadataServiceClient(conn).ListSources(onBehalf(ctx), &antlerv1.ListSourcesRequest{Local: true}, grpc.WaitForReady(true))
		if err == nil {
			return answer
		}

		if status.Code(err) != codes.Unavailable {
			return nil
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sourcesRetry):
		}
	}
}

// addClosedReplicas mentions the replicas that can't be looked at: DRBD shows
// their content only where they are primary.
func (s snapshot) addClosedReplicas(reply *antlerv1.ListSourcesResponse) {
	for _, member := range s.cluster.With(config.RoleMetadata) {
		name := member.Name + "/replica"
		if slices.ContainsFunc(reply.Sources, func(source *antlerv1.MetadataSource) bool { return source.Name == name }) {
			continue
		}

		source := s.closedReplica(member.Name)
		source.Name = name
		reply.Sources = append(reply.Sources, source)
	}
}

func (s snapshot) closedReplica(node string) *antlerv1.MetadataSource {
	report := s.reports[node]
	counted := slices.Contains(s.authority.UpToDate, node)

	switch {
	case !s.authority.Formatted:
		return &antlerv1.MetadataSource{Note: "there is no file system on it yet"}
	case s.replaced(node):
		return &antlerv1.MetadataSource{Problem: "its disk is a blank one, though the quorum counts on the one before: should that still exist, put it back, before anything else"}
	case counted && !report.Alive:
		return &antlerv1.MetadataSource{Problem: "its node is not heard of, and the quorum counts on it: bring it back, before anything else"}
	case s.serving() == "" && s.tried(node):
		return &antlerv1.MetadataSource{
			Problem: fmt.Sprintf("this node could not serve from it: %s; `antlerctl metadata restore %s/replica` shows what it would bring back all the same", s.authority.GiveUps[node].Reason, node),
		}
	case counted && s.serving() == "":
		return &antlerv1.MetadataSource{Current: true, Note: "the quorum counts on it: let this node serve, before anything else"}
	case counted:
		return &antlerv1.MetadataSource{Current: true, Note: "it has every acknowledged write; it can be read only where it serves"}
	default:
		return &antlerv1.MetadataSource{Problem: "it lacks acknowledged writes, and can be read only where it serves; DRBD says " + orNone(report.Report.Replica.Disk)}
	}
}

// replaced reports whether the replica that the quorum counts on is not the one
// that the node has now: DRBD calls a replica Inconsistent that was just created,
// and one that is being filled is not counted on.
func (s snapshot) replaced(node string) bool {
	report := s.reports[node]

	return report.Alive && s.authority.Formatted && report.Report.Replica.Disk == "Inconsistent" && slices.Contains(s.authority.UpToDate, node)
}

// Fetch implements antlerv1.MetadataServiceServer.
func (m *metadataService) Fetch(request *antlerv1.FetchRequest, stream antlerv1.MetadataService_FetchServer) error {
	s, ctx := m.server, stream.Context()
	if s.options.Metadata == nil {
		return m.UnimplementedMetadataServiceServer.Fetch(request, stream)
	}

	name, saved := request.GetSource(), false

	if name == "" {
		holder, err := s.holder(ctx)
		if err != nil {
			return err
		}

		name, saved = holder+"/replica", true
	}

	send := func(file string, chunk []byte) error {
		return stream.Send(&antlerv1.FetchResponse{File: file, Data: chunk})
	}

	if node := files.NodeOf(name); node != s.options.Config.Node.Name {
		return s.fetchFrom(ctx, node, request, send)
	}

	if saved {
		err := s.options.Metadata.Save(ctx)
		if err != nil {
			return explained(err, "have the master save its metadata")
		}
	}

	return explained(s.fetchHere(ctx, name, send), "")
}

// fetchHere hands on a source of this node. A replica that is mounted nowhere, since
// the cluster can't serve from it, is copied first.
func (s *Server) fetchHere(ctx context.Context, name string, each func(file string, chunk []byte) error) error {
	err := s.options.Metadata.Fetch(name, each)
	if !errors.Is(err, files.ErrNoSource) || name != s.options.Config.Node.Name+"/replica" {
		return err
	}

	known, knownErr := s.snapshot(ctx)
	if knownErr != nil || known.serving() != "" || !known.tried(known.self) {
		return err
	}

	aside, err := s.options.Metadata.SaveAside(ctx)
	if err != nil {
		return err
	}

	return s.options.Metadata.Fetch(aside.Name, each)
}

// tried reports whether the node was to serve, and could not.
func (s snapshot) tried(node string) bool {
	release := s.authority.GiveUps[node]

	return release.Failed && release.Streak > 0
}

// fetchFrom has another node send the files.
func (s *Server) fetchFrom(ctx context.Context, node string, request *antlerv1.FetchRequest, each func(file string, chunk []byte) error) error {
	if CallerFrom(ctx).Via != "" {
		return problem(codes.Unavailable, "MOVED", s.options.Config.Node.Name+" does not serve any more", "try again")
	}

	if _, known := s.options.Config.Cluster.Member(node); !known {
		return badField("source", fmt.Sprintf("no node is called %q: `antlerctl metadata sources` names them all", node))
	}

	conn, err := s.peers.to(node)
	if err != nil {
		return explained(err, "fetch metadata")
	}

	ctx, cancel := context.WithCancel(onBehalf(ctx))
	defer cancel()

	stream, err := antlerv1.NewMetadataServiceClient(conn).Fetch(ctx, request)
	if err != nil {
		return unreachable(node, err)
	}

	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return unreachable(node, err)
		}

		err = each(reply.GetFile(), reply.GetData())
		if err != nil {
			return err
		}
	}
}
