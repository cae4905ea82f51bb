package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/kubernetes"
	"antler/services/node/config"
)

func TestVolumeCallsGoToTheServingNode(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	for _, asked := range []string{"n1", "n2", "n3"} {
		reply, err := antlerv1.NewVolumeServiceClient(c.dial(asked, c.files.Admin)).
			Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "from-" + asked, SizeBytes: 1 << 30})
		require.NoError(t, err)
		require.Equal(t, "from-"+asked, reply.Volume.Name)

		// The fake puts the caller there: the person, whichever node passed it on.
		via := ""
		if asked != "n1" {
			via = asked
		}

		require.Equal(t, "admin@"+via, reply.Volume.Id)
	}

	require.Len(t, c.node("n1").volumes.created, 3)
	require.Empty(t, c.node("n2").volumes.created)
}

func TestPassedOnErrorsKeepTheirDetails(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	for _, asked := range []string{"n1", "n3"} {
		volumes := antlerv1.NewVolumeServiceClient(c.dial(asked, c.files.Admin))

		_, err := volumes.Get(t.Context(), &antlerv1.VolumeServiceGetRequest{Name: "photos"})
		require.Equal(t, codes.NotFound, status.Code(err))
		require.Equal(t, "look at volume photos: there is none", status.Convert(err).Message())
		require.Equal(t, "VOLUME_NOT_FOUND", reasonOf(t, err))
		require.Contains(t, hintOf(t, err), "antlerctl volume list")

		_, err = volumes.Expand(t.Context(), &antlerv1.VolumeServiceExpandRequest{Name: "photos", SizeBytes: 1 << 30})
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
		require.IsType(t, &errdetails.PreconditionFailure{}, status.Convert(err).Details()[1])

		_, err = volumes.Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "photos", SizeBytes: 17})
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.Equal(t, "size_bytes: 17 is not between 1 MiB and 1 EiB", status.Convert(err).Message())
	}
}

func TestVolumeCallsWhileNobodyServes(t *testing.T) {
	c := newCluster(t)
	c.serve("", 5)

	volumes := antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Reader))

	_, err := volumes.List(t.Context(), &antlerv1.VolumeServiceListRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "NOBODY_SERVES", reasonOf(t, err))
	require.NotEmpty(t, hintOf(t, err))
}

// Two nodes that disagree about who serves don't pass a call on for ever.
func TestCallsAreNotPassedOnTwice(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	status1 := authority.NewAuthorityStatus()
	*status1.TypedSpec() = healthyAuthority("n1", "n2", 6)
	c.put(c.node("n1"), status1)

	report := authority.NewNodeReport("n2")
	report.TypedSpec().Alive = true
	report.TypedSpec().Report = healthyReport("n2", "n2", 6)
	c.put(c.node("n1"), report)

	// n3 passes on to n1, which knows better and would pass on to n2.
	_, err := antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Admin)).
		Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "v", SizeBytes: 1 << 30})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "MOVED", reasonOf(t, err))
}

func TestAnyNodeAnswersForAnother(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	nodes := antlerv1.NewNodeServiceClient(c.dial("n1", c.files.Reader))
	ctx := metadata.AppendToOutgoingContext(t.Context(), config.NodeMetadata, "n3")

	reply, err := nodes.GetResources(ctx, &antlerv1.GetResourcesRequest{Type: "config"})
	require.NoError(t, err)
	require.Equal(t, "n3", reply.Node)

	stranger := metadata.AppendToOutgoingContext(t.Context(), config.NodeMetadata, "n9")

	_, err = nodes.GetResources(stranger, &antlerv1.GetResourcesRequest{Type: "config"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestResourcesByAliasAndWithoutSecrets(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	nodes := antlerv1.NewNodeServiceClient(c.dial("n1", c.files.Reader))

	for _, alias := range []string{"authority", "AuthorityStatus", "authoritystatuses", "AuthorityStatuses.antler"} {
		reply, err := nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: alias})
		require.NoError(t, err, alias)
		require.Len(t, reply.Resources, 1)
		require.Contains(t, reply.Resources[0].Yaml, "holder: n1")
	}

	reports, err := nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: "report"})
	require.NoError(t, err)
	require.Len(t, reports.Resources, 3)

	one, err := nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: "report", Id: "n2"})
	require.NoError(t, err)
	require.Len(t, one.Resources, 1)
	require.Contains(t, one.Resources[0].Json, `"disk":"UpToDate"`)

	_, err = nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: "report", Id: "n9"})
	require.Equal(t, codes.NotFound, status.Code(err))

	_, err = nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: "pod"})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Contains(t, hintOf(t, err), "authority, ")

	types, err := nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{})
	require.NoError(t, err)
	require.Greater(t, len(types.Resources), 10)

	for _, r := range types.Resources {
		require.NotEmpty(t, r.Meaning, "say in meanings() what %s is about", r.Id)
		require.NotContains(t, r.Name, ".")
	}

	own, err := nodes.GetResources(t.Context(), &antlerv1.GetResourcesRequest{Type: "config"})
	require.NoError(t, err)

	cfg := c.files.Nodes[0]
	for _, secret := range []string{cfg.Cluster.Password, cfg.Cluster.AdminPassword, cfg.Cluster.ChunkserverSecret, "PRIVATE KEY"} {
		require.NotContains(t, own.Resources[0].Yaml, secret)
		require.NotContains(t, own.Resources[0].Json, secret)
	}
}

func TestServicesAndLogs(t *testing.T) {
	c := newCluster(t)

	running := containers.NewContainerStatus("chunkserver")
	running.TypedSpec().Running, running.TypedSpec().PID = true, 77
	c.put(c.node("n1"), running)
	c.put(c.node("n1"), containers.NewContainerSpec("metalogger"))

	nodes := antlerv1.NewNodeServiceClient(c.dial("n1", c.files.Reader))

	reply, err := nodes.ListServices(t.Context(), &antlerv1.ListServicesRequest{})
	require.NoError(t, err)
	require.Len(t, reply.Services, 2)
	require.Equal(t, int32(77), reply.Services[0].Pid)
	require.False(t, reply.Services[1].Running)

	logs, err := nodes.StreamLogs(t.Context(), &antlerv1.StreamLogsRequest{Service: "chunkserver"})
	require.NoError(t, err)

	line, err := logs.Recv()
	require.NoError(t, err)
	require.Equal(t, []string{"line of chunkserver"}, line.Lines)

	logs, err = nodes.StreamLogs(t.Context(), &antlerv1.StreamLogsRequest{Service: "../../etc/passwd"})
	require.NoError(t, err)

	_, err = logs.Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Equal(t, "name one of: chunkserver, metalogger", hintOf(t, err))
}

func TestEventsOfAllNodesAreMergedAndFollowed(t *testing.T) {
	c := newCluster(t)
	began := time.Now()

	c.node("n1").events.Emit("authority.granted", 1, "first")
	c.node("n2").events.Emit("replication.connected", 1, "second")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	stream, err := antlerv1.NewClusterServiceClient(c.dial("n3", c.files.Reader)).
		WatchEvents(ctx, &antlerv1.WatchEventsRequest{Since: timestamppb.New(began), Follow: true})
	require.NoError(t, err)

	for _, want := range []string{"first", "second"} {
		reply, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, want, reply.Event.Message)
	}

	c.node("n2").events.Emit("metadata.mounted", 1, "third")

	reply, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "third", reply.Event.Message)
	require.Equal(t, "n2", reply.Event.Node)
}

func TestEventsOfOneNode(t *testing.T) {
	c := newCluster(t)
	c.node("n1").events.Emit("node.started", 0, "one")
	c.node("n2").events.Emit("node.started", 0, "two")

	stream, err := antlerv1.NewClusterServiceClient(c.dial("n2", c.files.Reader)).WatchEvents(t.Context(), &antlerv1.WatchEventsRequest{Local: true})
	require.NoError(t, err)

	reply, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "two", reply.Event.Message)

	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestMetrics(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.node("n1").events.Emit("node.started", 0, "")

	provisioner := kubernetes.NewProvisionerStatus()
	*provisioner.TypedSpec() = kubernetes.ProvisionerStatusSpec{Phase: kubernetes.ProvisionerWorking, Done: kubernetes.ProvisionerCounts{Provisioned: 3}}
	require.NoError(t, c.node("n1").state.Create(t.Context(), provisioner))

	recorder := httptest.NewRecorder()
	c.node("n1").server.Metrics().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))

	for _, want := range []string{
		"antler_serving 1\n", "antler_epoch 5\n", "antler_quorum 1\n", "antler_lease_valid 1\n", "antler_events_total 1\n",
		"antler_provisioner_working 1\n", `antler_provisioner_operations_total{operation="provision"} 3`,
		`antler_node_alive{node="n3"} 1`, `antler_replica_up_to_date{disk="UpToDate",node="n2"} 1`,
	} {
		require.Contains(t, recorder.Body.String(), want)
	}
}
