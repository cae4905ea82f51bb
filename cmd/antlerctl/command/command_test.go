package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

const clusterFile = `
name: home
floating: [10.5.0.250/24]
nodes:
- {name: n1, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n2, address: 10.5.0.2, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n3, address: 10.5.0.3, chunks: [{device: /dev/vdc}]}
`

// run runs antlerctl and returns what it printed.
func run(t *testing.T, ctx context.Context, home string, args ...string) (code int, out, errs string) {
	t.Helper()

	var stdout, stderr bytes.Buffer

	code = Execute(ctx, Environment{
		Out: &stdout, Err: &stderr, Now: time.Now,
		Getenv: func(name string) string {
			if name == "HOME" {
				return home
			}

			return ""
		},
	}, args)

	return code, stdout.String(), stderr.String()
}

// generated runs `gen config` and returns the directory.
func generated(t *testing.T) string {
	t.Helper()

	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.yaml")
	require.NoError(t, os.WriteFile(path, []byte(clusterFile), 0o600))

	code, out, errs := run(t, t.Context(), "", "gen", "config", path, "-o", dir)
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, 6, strings.Count(out, ".yaml\n"))

	return dir
}

func TestGenConfigMakesFilesThatLoad(t *testing.T) {
	dir := generated(t)

	for _, name := range []string{"n1", "n2", "n3"} {
		_, err := config.LoadFile(filepath.Join(dir, name+".yaml"), time.Now())
		require.NoError(t, err)
	}
}

func TestGenConfigForTalos(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.yaml")
	require.NoError(t, os.WriteFile(path, []byte(clusterFile), 0o600))

	out := filepath.Join(dir, "out")
	code, _, errs := run(t, t.Context(), "", "gen", "config", path, "-o", out, "--talos", "--talos-drbd", "10")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "DRBD 10 is not known")
	require.NoFileExists(t, filepath.Join(out, "n1.yaml"))

	code, names, errs := run(t, t.Context(), "", "gen", "config", path, "-o", out, "--talos")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, 6, strings.Count(names, ".talos-"))
	require.Contains(t, errs, "Patch each node's machine configuration")
	require.FileExists(t, filepath.Join(out, "n3.talos-service.yaml"))
}

func TestGenConfigWritesNothingThatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "title: home\n", `unknown key "title"`},
		{"even voters", strings.ReplaceAll(clusterFile, "- {name: n3, address: 10.5.0.3, chunks: [{device: /dev/vdc}]}\n", ""), "2 voters (n1, n2) are an even number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "cluster.yaml")
			require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))

			code, _, errs := run(t, t.Context(), "", "gen", "config", path, "-o", filepath.Join(dir, "out"))
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, tc.want)
			require.NoDirExists(t, filepath.Join(dir, "out"))
		})
	}
}

func TestGenCert(t *testing.T) {
	dir := generated(t)
	path := filepath.Join(dir, "bob.yaml")

	code, _, errs := run(t, t.Context(), "", "gen", "cert", "--ca", filepath.Join(dir, "ca.yaml"), "--name", "bob", "-o", path)
	require.Equal(t, exitOK, code, errs)

	client, err := config.LoadClient(path)
	require.NoError(t, err)
	require.Len(t, client.Endpoints, 3)

	pair, _, err := client.TLSCertificate()
	require.NoError(t, err)
	require.Equal(t, []string{config.OrganizationReader}, pair.Leaf.Subject.Organization)

	code, _, errs = run(t, t.Context(), "", "gen", "cert", "--ca", filepath.Join(dir, "ca.yaml"), "--name", "bob", "-o", path, "--role", "root")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "antlerctl: --role root: use admin or reader\n", errs)
}

// fakeNode answers as a node would.
type fakeNode struct {
	antlerv1.UnimplementedClusterServiceServer
	antlerv1.UnimplementedNodeServiceServer
	antlerv1.UnimplementedVolumeServiceServer

	// status instead of a healthy one.
	status *antlerv1.ClusterStatus
	// deaf are the nodes that fail when they are asked for their services.
	deaf []string
}

func (n *fakeNode) GetStatus(context.Context, *antlerv1.GetStatusRequest) (*antlerv1.GetStatusResponse, error) {
	if n.status != nil {
		return &antlerv1.GetStatusResponse{Cluster: n.status}, nil
	}

	return &antlerv1.GetStatusResponse{Cluster: healthy()}, nil
}

func event(sequence uint64) *antlerv1.Event {
	return &antlerv1.Event{Time: timestamppb.New(testTime()), Node: "n1", Sequence: sequence, Kind: "authority.granted", Epoch: 6, Message: "epoch 6 granted to n2"}
}

func (*fakeNode) WatchEvents(request *antlerv1.WatchEventsRequest, stream antlerv1.ClusterService_WatchEventsServer) error {
	for i := range 2 {
		err := stream.Send(&antlerv1.WatchEventsResponse{Event: event(uint64(i + 1))})
		if err != nil {
			return err
		}
	}

	if request.Follow {
		<-stream.Context().Done()
	}

	return nil
}

func (*fakeNode) Switchover(request *antlerv1.SwitchoverRequest, stream antlerv1.ClusterService_SwitchoverServer) error {
	if request.Target == "n3" {
		answer, _ := status.New(codes.FailedPrecondition, "switch over to n3: it is not up to date").WithDetails(
			&errdetails.ErrorInfo{Reason: "X", Domain: "antler"},
			&errdetails.Help{Links: []*errdetails.Help_Link{{Description: "wait until it is"}}})

		return answer.Err()
	}

	err := stream.Send(&antlerv1.SwitchoverResponse{Progress: &antlerv1.Progress{Event: event(1), Elapsed: durationpb.New(430 * time.Millisecond)}})
	if err != nil {
		return err
	}

	return stream.Send(&antlerv1.SwitchoverResponse{Progress: &antlerv1.Progress{Done: true, Node: "n2", Epoch: 6, Elapsed: durationpb.New(1900 * time.Millisecond)}})
}

func (*fakeNode) ReplaceNode(_ context.Context, request *antlerv1.ReplaceNodeRequest) (*antlerv1.ReplaceNodeResponse, error) {
	return &antlerv1.ReplaceNodeResponse{
		Node: request.Node, OldStore: "OLD", NewStore: "NEW", GivenUp: []string{"store OLD"},
		Replica: &antlerv1.Replica{Phase: "blank"}, Done: request.Forget == "OLD" && request.Reason != "",
	}, nil
}

func (*fakeNode) ResolveSplitBrain(_ context.Context, request *antlerv1.ResolveSplitBrainRequest) (*antlerv1.ResolveSplitBrainResponse, error) {
	return &antlerv1.ResolveSplitBrainResponse{
		Keep:    &antlerv1.SplitBrainSide{Node: request.Keep, Version: 90, Story: []string{"it serves"}},
		Discard: &antlerv1.SplitBrainSide{Node: "n1", Version: 95, Time: timestamppb.New(time.Unix(0, 0)), Story: []string{"it reaches 95", "it was down"}},
		Saved:   "n1/backup-replica-7-95", GivenUp: []string{"what only n1 has"}, Recorded: request.Discard == "n1" && request.Reason != "",
	}, nil
}

func (*fakeNode) Expand(_ context.Context, request *antlerv1.VolumeServiceExpandRequest) (*antlerv1.VolumeServiceExpandResponse, error) {
	const bad = "1 is not between 1 MiB and 1 EiB"

	if request.SizeBytes != 1 {
		return &antlerv1.VolumeServiceExpandResponse{
			Volume: &antlerv1.Volume{Name: request.Name, SizeBytes: request.SizeBytes}, Warnings: []string{"add a chunkserver"},
		}, nil
	}

	answer, _ := status.New(codes.InvalidArgument, "size_bytes: "+bad).WithDetails(
		&errdetails.ErrorInfo{Reason: "BAD_FIELD", Domain: "antler"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "size_bytes", Description: bad}}})

	return nil, answer.Err()
}

func (*fakeNode) Release(_ context.Context, request *antlerv1.VolumeServiceReleaseRequest) (*antlerv1.VolumeServiceReleaseResponse, error) {
	since := timestamppb.New(testTime())

	switch {
	case request.Node == "n3":
		return &antlerv1.VolumeServiceReleaseResponse{Done: true}, nil
	case request.Node == "n2" && !request.Force:
		answer, _ := status.New(codes.FailedPrecondition, "n2 was heard of").WithDetails(&errdetails.ErrorInfo{Reason: "NODE_ALIVE", Domain: "antler"})

		return nil, answer.Err()
	}

	return &antlerv1.VolumeServiceReleaseResponse{
		Use: &antlerv1.VolumeUse{Node: request.Node, Alone: true, Since: since}, LastHeard: since, Done: request.Confirm,
		Others: []*antlerv1.VolumeUse{{Node: "n9", ReadOnly: true, Since: since}},
	}, nil
}

func (*fakeNode) GetResources(_ context.Context, request *antlerv1.GetResourcesRequest) (*antlerv1.GetResourcesResponse, error) {
	switch request.Type {
	case "":
		return &antlerv1.GetResourcesResponse{Node: "n2", Resources: []*antlerv1.Resource{{Id: "replicastatuses.antler", Name: "replica", Meaning: "DRBD as it is"}}}, nil
	case "backup":
		return &antlerv1.GetResourcesResponse{Node: "n2"}, nil
	}

	return &antlerv1.GetResourcesResponse{Node: "n2", Resources: []*antlerv1.Resource{
		{Type: "ReplicaStatuses.antler", Id: "meta", Version: "3", Phase: "running", Owner: "x", Yaml: "disk: UpToDate\nrole: Primary\n", Json: `{"disk":"UpToDate"}`},
	}}, nil
}

// cluster starts n2 on loopback; n1 and n3 are down. It returns the path of a
// client configuration for it.
func cluster(t *testing.T) string {
	t.Helper()

	return clusterWith(t, &fakeNode{})
}

func clusterWith(t *testing.T, node *fakeNode) string {
	t.Helper()

	dir := generated(t)

	cfg, err := config.LoadFile(filepath.Join(dir, "n2.yaml"), time.Now())
	require.NoError(t, err)
	pair, pool, err := cfg.PKI.TLSCertificate()
	require.NoError(t, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})))
	antlerv1.RegisterClusterServiceServer(server, node)
	antlerv1.RegisterNodeServiceServer(server, node)
	antlerv1.RegisterVolumeServiceServer(server, node)
	antlerv1.RegisterMetadataServiceServer(server, fakeSources{})
	healthv1.RegisterHealthServer(server, health.NewServer())

	go func() { _ = server.Serve(listener) }()

	t.Cleanup(server.Stop)

	// A port that nobody listens on.
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())

	path := filepath.Join(dir, "admin.yaml")
	client, err := config.LoadClient(path)
	require.NoError(t, err)

	client.Endpoints = []config.Endpoint{
		{Node: "n1", Address: closed.Addr().String()},
		{Node: "n2", Address: listener.Addr().String()},
		// Another node behind the address of n2 is noticed.
		{Node: "n3", Address: listener.Addr().String()},
	}

	raw, err := yaml.Marshal(client)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o600))

	return path
}

func TestTheNextNodeIsAsked(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "status")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "cluster  home is OK\nserves   n1 since")

	code, out, errs = run(t, t.Context(), "", "-c", path, "status", "-o", "json")
	require.Equal(t, exitOK, code, errs)

	var decoded struct {
		Cluster struct {
			Health  string
			Serving struct {
				Node string
			}
		}
	}

	require.NoError(t, json.Unmarshal([]byte(out), &decoded))
	require.Equal(t, "HEALTH_OK", decoded.Cluster.Health)
	require.Equal(t, "n1", decoded.Cluster.Serving.Node)
}

func TestConfigurationIsFoundAtHome(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, ".antler"), 0o700))
	require.NoError(t, os.Rename(cluster(t), filepath.Join(home, ".antler", "config.yaml")))

	code, _, errs := run(t, t.Context(), home, "status")
	require.Equal(t, exitOK, code, errs)
}

func TestNobodyAnswers(t *testing.T) {
	path := cluster(t)

	code, _, errs := run(t, t.Context(), "", "-c", path, "status", "-n", "n1")
	require.Equal(t, exitFailed, code)
	require.Regexp(t, `^antlerctl: no node of cluster home answers:\n  n1 at 127\.0\.0\.1:\d+: .*connection refused\nAre they on, and can this machine reach them\?\n$`, errs)

	code, _, errs = run(t, t.Context(), "", "-c", path, "status", "-n", "n3")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "certificate is valid for n2, localhost, not n3")

	code, _, errs = run(t, t.Context(), "", "-c", path, "status", "-n", "n9")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "antlerctl: no node is called \"n9\": name one of n1, n2, n3\n", errs)

	code, _, errs = run(t, t.Context(), "", "status")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "no client configuration: give one with --config")
}

func TestSwitchoverShowsProgress(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "switchover")
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^  0\.43 s  n1     authority\.granted              6  epoch 6 granted to n2\nn2 serves in epoch 6, after 1\.9 s\nthe cluster is whole, after 0\.\d s\n$`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "switchover", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.True(t, strings.HasSuffix(out, "\n{\"whole\":true,\"remaining\":[],\"before\":[]}\n"), out)
	require.Empty(t, errs)

	code, _, errs = run(t, t.Context(), "", "-c", path, "switchover", "n3")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "antlerctl: switch over to n3: it is not up to date\n  -> wait until it is\n", errs)
}

func TestEvents(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "events")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, strings.Repeat("2026-03-01 12:00:00.000  n1     authority.granted              6  epoch 6 granted to n2\n", 2), out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "events", "-o", "json")
	require.Equal(t, exitOK, code, errs)

	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}

	code, _, _ = run(t, t.Context(), "", "-c", path, "events", "--since", "yesterday")
	require.Equal(t, exitUsage, code)
}

// lineCounter cancels when it has seen enough lines, as a person would.
type lineCounter struct {
	bytes.Buffer
	enough int
	cancel context.CancelFunc
}

func (l *lineCounter) Write(p []byte) (int, error) {
	n, err := l.Buffer.Write(p)
	if bytes.Count(l.Bytes(), []byte("\n")) >= l.enough {
		l.cancel()
	}

	return n, err
}

func TestInterruptIsQuiet(t *testing.T) {
	path := cluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &lineCounter{enough: 2, cancel: cancel}

	var errs bytes.Buffer

	code := Execute(ctx, Environment{Out: out, Err: &errs, Now: time.Now, Getenv: func(string) string { return "" }},
		[]string{"-c", path, "events", "-f"})
	require.Equal(t, exitInterrupted, code)
	require.Empty(t, errs.String())
}

func TestGet(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "get", "replica", "-o", "yaml")
	require.Equal(t, exitOK, code, errs)

	var decoded struct {
		Metadata struct{ Node, Type string }
		Spec     struct{ Disk string }
	}

	require.NoError(t, yaml.Unmarshal([]byte(out), &decoded))
	require.Equal(t, "n2", decoded.Metadata.Node)
	require.Equal(t, "UpToDate", decoded.Spec.Disk)

	code, out, _ = run(t, t.Context(), "", "-c", path, "get", "replica")
	require.Equal(t, exitOK, code)
	require.Equal(t, "meta on n2 (ReplicaStatuses.antler, version 3)\n  disk: UpToDate\n  role: Primary\n", out)

	code, out, _ = run(t, t.Context(), "", "-c", path, "get")
	require.Equal(t, exitOK, code)
	require.Equal(t, "TYPE     WHAT IT SAYS\nreplica  DRBD as it is\n", out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "get", "backup")
	require.Equal(t, exitOK, code)
	require.Empty(t, out)
	require.Equal(t, "there is no backup on n2: `antlerctl get` says what each type is about\n", errs)
}

func TestWhatANodeDoesNotOffer(t *testing.T) {
	code, _, errs := run(t, t.Context(), "", "-c", cluster(t), "volume", "list")
	require.Equal(t, exitFailed, code)
	require.Equal(t, "antlerctl: the node does not offer this: method List not implemented\n", errs)
}

func TestVersion(t *testing.T) {
	for args, want := range map[string]string{"": "dev\n", "-o=json": "{\"version\":\"dev\"}\n", "-o=yaml": "---\nversion: \"dev\"\n"} {
		code, out, errs := run(t, t.Context(), "", append([]string{"version"}, strings.Fields(args)...)...)
		require.Equal(t, exitOK, code, errs)
		require.Equal(t, want, out)
	}
}

// A person is warned beside the answer, a program in it.
func TestVolumeWarnings(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "volume", "expand", "photos", "--size", "1TiB")
	require.Equal(t, exitOK, code)
	require.Regexp(t, `(?m)^photos +1 TiB `, out)
	require.Equal(t, "warning: add a chunkserver\n", errs)

	code, out, errs = run(t, t.Context(), "", "-c", path, "volume", "expand", "photos", "--size", "1TiB", "-o", "json")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, `"add a chunkserver"`)
	require.Empty(t, errs)
}

func TestCompletionScript(t *testing.T) {
	code, out, errs := run(t, t.Context(), "", "completion", "bash")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "__start_antlerctl")

	code, out, _ = run(t, t.Context(), "", "__complete", "-c", cluster(t), "status", "-n", "")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "n1\nn2\nn3\n")
}
