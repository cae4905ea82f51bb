package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/metadata/files"
	"antler/services/node/config"
)

// Restore implements antlerv1.MetadataServiceServer. It is carried out by the
// node that is to serve.
func (m *metadataService) Restore(request *antlerv1.RestoreRequest, stream antlerv1.MetadataService_RestoreServer) error {
	s, ctx := m.server, stream.Context()
	if s.options.Metadata == nil || s.options.Authority == nil {
		return m.UnimplementedMetadataServiceServer.Restore(request, stream)
	}

	known, err := s.snapshot(ctx)
	if err != nil {
		return explained(err, "restore metadata")
	}

	target, err := known.restoreTarget(request)
	if err != nil {
		return err
	}

	if target != known.self {
		return s.restoreAt(ctx, target, request, stream)
	}

	r := &restore{server: s, known: known, request: request, stream: stream}

	return r.run(ctx)
}

// restoreTarget is the metadata node asked for, or one whose replica runs.
func (s snapshot) restoreTarget(request *antlerv1.RestoreRequest) (string, error) {
	if node := s.serving(); node != "" {
		return "", problem(codes.FailedPrecondition, "SERVING", fmt.Sprintf("restore metadata: %s serves version %d", node, s.authority.MetaVersion),
			"what is served is not replaced; to have a copy of it, see `antlerctl metadata backup`")
	}

	if request.GetLoseAfter() != 0 && strings.TrimSpace(request.GetReason()) == "" {
		return "", badField("reason", "is missing: it is kept in the cluster's record")
	}

	if target := request.GetTarget(); target != "" {
		return target, s.checkTarget(target)
	}

	for _, member := range s.cluster.With(config.RoleMetadata) {
		if report := s.reports[member.Name]; report.Alive && report.Report.Replica.Phase == "up" {
			return member.Name, nil
		}
	}

	return "", problem(codes.FailedPrecondition, "NO_REPLICA", "restore metadata: no metadata node has a replica that runs",
		"give one of them a blank disk of the configured name; `antlerctl status` says what is wrong with what it has")
}

// restoreAt has the target carry it out.
func (s *Server) restoreAt(ctx context.Context, target string, request *antlerv1.RestoreRequest, stream antlerv1.MetadataService_RestoreServer) error {
	conn, err := s.peers.to(target)
	if err != nil {
		return explained(err, "restore metadata")
	}

	ctx, cancel := context.WithCancel(onBehalf(ctx))
	defer cancel()

	upstream, err := antlerv1.NewMetadataServiceClient(conn).Restore(ctx, &antlerv1.RestoreRequest{
		Source: request.GetSource(), Target: target, LoseAfter: request.GetLoseAfter(), Reason: request.GetReason(),
	})
	if err != nil {
		return unreachable(target, err)
	}

	for {
		reply, err := upstream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return unreachable(target, err)
		}

		err = stream.Send(reply)
		if err != nil {
			return err
		}
	}
}

// restore is one call on the node that is to serve.
type restore struct {
	server  *Server
	known   snapshot
	request *antlerv1.RestoreRequest
	stream  antlerv1.MetadataService_RestoreServer
}

func (r *restore) run(ctx context.Context) error {
	source, err := r.stage(ctx)
	if err != nil {
		return err
	}

	lose := r.request.GetLoseAfter()
	if lose == 0 {
		return r.stream.Send(&antlerv1.RestoreResponse{Plan: r.plan(ctx, source)})
	}

	if lose != source.Version {
		return problem(codes.FailedPrecondition, "OTHER_VERSION",
			fmt.Sprintf("restore metadata: %s reaches version %d, not %d", r.request.GetSource(), source.Version, lose),
			"look again without --lose-after before you decide")
	}

	m := &move{
		server: r.server, target: r.known.self, before: r.known.authority, began: r.server.options.Now(),
		send: func(p *antlerv1.Progress) error {
			return r.stream.Send(&antlerv1.RestoreResponse{Progress: p})
		},
		forced: true,
	}

	return m.run(ctx, "restore metadata from "+r.request.GetSource(), func(ctx context.Context) error {
		return r.server.options.Authority.Restore(ctx, r.known.self, source.Version, source.ID, CallerFrom(ctx).Name, r.request.GetReason())
	})
}

// stage copies the source to this node and looks at it here. Nothing else is
// touched.
func (r *restore) stage(ctx context.Context) (files.Source, error) {
	s, name := r.server, r.request.GetSource()

	stage, err := files.NewStage(s.options.StagePath)
	if err != nil {
		return files.Source{}, explained(err, "")
	}

	if files.NodeOf(name) == r.known.self {
		err = explained(s.fetchHere(ctx, name, stage.Add), "")
	} else {
		// The target asks for itself, in the person's name.
		err = s.fetchFrom(withoutVia(ctx), files.NodeOf(name), &antlerv1.FetchRequest{Source: name}, stage.Add)
	}

	source, closeErr := stage.Close()

	if err == nil {
		err = explained(closeErr, "")
	}

	if err != nil {
		return files.Source{}, err
	}

	if id := r.known.authority.MetadataID; id != 0 && source.ID != id {
		return files.Source{}, problem(codes.FailedPrecondition, "FOREIGN_METADATA",
			fmt.Sprintf("restore metadata: %s is another file system's (%016X; this cluster's is %016X)", name, source.ID, id),
			"`antlerctl metadata sources` shows those of this cluster; for that of a cluster that is gone form a new one, with metadata.awaitRestore: see docs/recovery.md")
	}

	source.Name = name

	return source, nil
}

// withoutVia is for a call to a third node on behalf of a caller whose call came
// here through another one already.
func withoutVia(ctx context.Context) context.Context {
	caller := CallerFrom(ctx)
	caller.Via = ""

	return withCaller(ctx, caller)
}

// plan says what the restore would come to.
func (r *restore) plan(ctx context.Context, source files.Source) *antlerv1.RestorePlan {
	list, err := (&metadataService{server: r.server}).ListSources(withoutVia(ctx), &antlerv1.ListSourcesRequest{})
	if err == nil {
		source.Time = timeOf(source, list)
	}

	plan := &antlerv1.RestorePlan{
		Source: r.known.sourceToAPI(source), Target: r.known.self, ServedVersion: r.known.authority.MetaVersion,
		GivenUp: r.known.restoreGivesUp(source),
	}

	if err != nil {
		return plan
	}

	for _, other := range list.Sources {
		switch {
		case other.Version > source.Version && other.Name != source.Name:
			plan.Better = append(plan.Better, fmt.Sprintf("%s reaches version %d", other.Name, other.Version))
		case r.known.authority.Formatted && other.Version == 0 && slices.Contains(r.known.authority.UpToDate, files.NodeOf(other.Name)) && strings.HasSuffix(other.Name, "/replica"):
			plan.Better = append(plan.Better, other.Name+": "+other.Note+other.Problem)
		}
	}

	for _, node := range list.Silent {
		plan.Better = append(plan.Better, node+" does not answer: it may hold more")
	}

	return plan
}

// timeOf the last change in a source: the copy that was staged is as new as its
// files are, and the source itself may have grown since. What was copied from a
// replica that is mounted nowhere is a source of its own, with another name.
func timeOf(staged files.Source, list *antlerv1.ListSourcesResponse) time.Time {
	for _, source := range list.GetSources() {
		same := source.GetVersion() == staged.Version && source.GetMetadataId() == staged.ID
		if (source.GetName() == staged.Name || same) && source.Time != nil {
			return source.GetTime().AsTime()
		}
	}

	return staged.Time
}

// restoreGivesUp is what is lost for good.
func (s snapshot) restoreGivesUp(source files.Source) []string {
	lost := []string{
		fmt.Sprintf("every change after version %d%s", source.Version, lastChangeAt(source)),
		"the data of files that were made after it: mfsmaster deletes chunks it does not know, after a week",
		"what only another replica holds: should it turn up again, it is not connected by itself",
	}

	if served := s.authority.MetaVersion; served > source.Version {
		lost[0] = fmt.Sprintf("the changes %d to %d at least (the quorum has recorded that so many were served)%s", source.Version, served-1, lastChangeAt(source))
	}

	return lost
}

func lastChangeAt(source files.Source) string {
	return fmt.Sprintf("; its last change is of %s", source.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
}
