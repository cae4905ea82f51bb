package command

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

// ListServices passes the question on, as a node does.
func (n *fakeNode) ListServices(ctx context.Context, _ *antlerv1.ListServicesRequest) (*antlerv1.ListServicesResponse, error) {
	node := "n2"

	asked, _ := metadata.FromIncomingContext(ctx)
	if to := asked.Get(config.NodeMetadata); len(to) > 0 {
		node = to[0]
	}

	if slices.Contains(n.deaf, node) {
		return nil, status.Error(codes.Internal, node+" has no containerd")
	}

	return &antlerv1.ListServicesResponse{Node: node, Services: []*antlerv1.Service{{Name: "mfschunkserver", Running: true, Pid: 7}}}, nil
}

func (*fakeNode) StreamLogs(request *antlerv1.StreamLogsRequest, stream antlerv1.NodeService_StreamLogsServer) error {
	return stream.Send(&antlerv1.StreamLogsResponse{Lines: []string{request.Service + " wrote"}})
}

func TestServicesOfAllNodes(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "services")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `NODE  SERVICE         STATE    PID  RESTARTS  ERROR
n1    mfschunkserver  running  7    0         -
n2    mfschunkserver  running  7    0         -
n3    mfschunkserver  running  7    0         -
`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "services", "-n", "n2", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, 1, strings.Count(out, `"services"`))
}

func TestServicesNamesEveryNodeThatFails(t *testing.T) {
	path := clusterWith(t, &fakeNode{deaf: []string{"n1", "n3"}})

	for _, args := range [][]string{nil, {"-o", "json"}} {
		code, out, errs := run(t, t.Context(), "", append([]string{"-c", path, "services"}, args...)...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, errs, "list the services: n1: n1 has no containerd; n3: n3 has no containerd")
		require.Contains(t, out, "mfschunkserver")
	}
}

func TestServicesNamesWhoWasNotAsked(t *testing.T) {
	known := healthy()
	known.Nodes[2].Alive = false
	path := clusterWith(t, &fakeNode{status: known})

	code, out, errs := run(t, t.Context(), "", "-c", path, "services", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, 3, strings.Count(out, `"services"`))
	require.True(t, strings.HasSuffix(out, "{\n  \"node\": \"n3\",\n  \"services\": [],\n  \"not_asked\": true\n}\n"), out)

	code, _, errs = run(t, t.Context(), "", "-c", path, "services")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, errs, "n3 is not heard of, and not asked\n")
}

func TestLogsOfTheServingNode(t *testing.T) {
	path := cluster(t)

	// The status says that n1 serves, which is down.
	code, _, errs := run(t, t.Context(), "", "-c", path, "logs", "mfsmaster")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "on n1, which serves (-n names another node)\n")
	require.Contains(t, errs, "n1 at 127.0.0.1")

	code, out, errs := run(t, t.Context(), "", "-c", path, "logs", "mfsmaster", "-n", "n2")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, "mfsmaster wrote\n", out)
}

func TestLogsWhereNobodyServes(t *testing.T) {
	path := clusterWith(t, &fakeNode{status: &antlerv1.ClusterStatus{}})

	// The command line is as it should be.
	code, _, errs := run(t, t.Context(), "", "-c", path, "logs", "mfsmaster", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `"code":"FailedPrecondition","reason":"NOBODY_SERVES"`)
}
