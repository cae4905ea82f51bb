package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/safe"
	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/containers"
)

type nodeService struct {
	antlerv1.UnimplementedNodeServiceServer
	server *Server
}

// ListServices implements antlerv1.NodeServiceServer.
func (n *nodeService) ListServices(ctx context.Context, _ *antlerv1.ListServicesRequest) (*antlerv1.ListServicesResponse, error) {
	found, err := n.services(ctx)
	if err != nil {
		return nil, explained(err, "list services")
	}

	return &antlerv1.ListServicesResponse{Node: n.server.options.Config.Node.Name, Services: found}, nil
}

func (n *nodeService) services(ctx context.Context) ([]*antlerv1.Service, error) {
	// What is wanted and was never started has no status yet.
	specs, err := safe.StateListAll[*containers.ContainerSpec](ctx, n.server.options.State)
	if err != nil {
		return nil, err
	}

	statuses, err := safe.StateListAll[*containers.ContainerStatus](ctx, n.server.options.State)
	if err != nil {
		return nil, err
	}

	found := map[string]*antlerv1.Service{}

	for spec := range specs.All() {
		found[spec.Metadata().ID()] = &antlerv1.Service{Name: spec.Metadata().ID()}
	}

	for status := range statuses.All() {
		s := status.TypedSpec()
		found[status.Metadata().ID()] = &antlerv1.Service{
			Name: status.Metadata().ID(), Running: s.Running, Pid: int32(s.PID), Restarts: uint32(s.Restarts),
			ExitCode: int32(s.ExitCode), Adopted: s.Adopted, Error: s.Error,
		}
	}

	out := make([]*antlerv1.Service, 0, len(found))

	for _, service := range found {
		out = append(out, service)
	}

	slices.SortFunc(out, func(a, b *antlerv1.Service) int { return cmp.Compare(a.Name, b.Name) })

	return out, nil
}

// StreamLogs implements antlerv1.NodeServiceServer.
func (n *nodeService) StreamLogs(request *antlerv1.StreamLogsRequest, stream antlerv1.NodeService_StreamLogsServer) error {
	if n.server.options.Logs == nil {
		return n.UnimplementedNodeServiceServer.StreamLogs(request, stream)
	}

	found, err := n.services(stream.Context())
	if err != nil {
		return explained(err, "read the log")
	}

	var names []string

	for _, service := range found {
		names = append(names, service.Name)
	}

	// Only names from the list reach the file system.
	if !slices.Contains(names, request.GetService()) {
		return problem(codes.NotFound, "NO_SERVICE", fmt.Sprintf("no service is called %q on %s", request.GetService(), n.server.options.Config.Node.Name),
			fmt.Sprintf("name one of: %s", strings.Join(names, ", ")))
	}

	err = n.server.options.Logs(stream.Context(), request.GetService(), int(request.GetTail()), request.GetFollow(), func(line string) error {
		return stream.Send(&antlerv1.StreamLogsResponse{Lines: []string{strings.ToValidUTF8(line, "?")}})
	})

	return explained(err, fmt.Sprintf("read the log of %s", request.GetService()))
}
