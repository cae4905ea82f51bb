package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
	"antler/services/node/config/gen"
)

const zapErrorLevel = zapcore.FatalLevel

func currentUID() uint32 { return uint32(os.Getuid()) }

func getStatus(ctx context.Context, conn grpc.ClientConnInterface) (*antlerv1.ClusterStatus, error) {
	reply, err := antlerv1.NewClusterServiceClient(conn).GetStatus(ctx, &antlerv1.GetStatusRequest{})

	return reply.GetCluster(), err
}

// switchover returns the last message, or the error.
func switchover(ctx context.Context, conn grpc.ClientConnInterface, target string) (*antlerv1.Progress, error) {
	return followed(antlerv1.NewClusterServiceClient(conn).Switchover(ctx, &antlerv1.SwitchoverRequest{Target: target}))
}

func followed(stream antlerv1.ClusterService_SwitchoverClient, err error) (*antlerv1.Progress, error) {
	if err != nil {
		return nil, err
	}

	var last *antlerv1.Progress

	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}

		if err != nil {
			return nil, err
		}

		last = reply.GetProgress()
	}
}

func TestReaderLooksAndDoesNotAct(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	conn := c.dial("n1", c.files.Reader)

	status1, err := getStatus(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, "n1", status1.Serving.Node)

	_, err = switchover(t.Context(), conn, "n2")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Empty(t, c.node("n1").authority.asked)

	_, err = antlerv1.NewVolumeServiceClient(conn).Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "v", SizeBytes: 1 << 30})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

// Only a node's certificate may speak for somebody else.
func TestClaimedRoleIsNotBelieved(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	claim := metadata.AppendToOutgoingContext(t.Context(), metadataRole, "admin", metadataCaller, "admin")

	_, err := switchover(claim, c.dial("n1", c.files.Reader), "n2")
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	node := c.dialTLS("n1", c.files.Nodes[1].PKI)

	_, err = switchover(t.Context(), node, "n2")
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	last, err := switchover(claim, node, "n2")
	require.NoError(t, err)
	require.True(t, last.Done)

	// A node can't lend the role of a node.
	_, err = switchover(metadata.AppendToOutgoingContext(t.Context(), metadataRole, "node"), node, "n1")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestStrangersAreTurnedAway(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	_, pool, err := c.files.Admin.TLSCertificate()
	require.NoError(t, err)

	foreign, err := gen.NewSecrets("home", time.Now())
	require.NoError(t, err)

	foreigner, err := foreign.Client("admin", config.OrganizationAdmin, time.Now(), 0)
	require.NoError(t, err)
	foreignPair, _, err := foreigner.TLSCertificate()
	require.NoError(t, err)

	expired, err := c.files.Secrets.Client("admin", config.OrganizationAdmin, time.Now().AddDate(-1, 0, 0), time.Hour)
	require.NoError(t, err)
	expiredPair, _, err := expired.TLSCertificate()
	require.NoError(t, err)

	stranger, err := c.files.Secrets.Client("stranger", "somebody:else", time.Now(), 0)
	require.NoError(t, err)
	strangerPair, _, err := stranger.TLSCertificate()
	require.NoError(t, err)

	adminPair, _, err := c.files.Admin.TLSCertificate()
	require.NoError(t, err)

	for _, tc := range []struct {
		name string
		conf *tls.Config
		want codes.Code
	}{
		{"without a certificate", &tls.Config{RootCAs: pool, ServerName: "n1"}, codes.Unavailable},
		{"of another CA of the same name", &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: []tls.Certificate{foreignPair}}, codes.Unavailable},
		{"with an expired certificate", &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: []tls.Certificate{expiredPair}}, codes.Unavailable},
		{"with old TLS", &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: []tls.Certificate{adminPair}, MaxVersion: tls.VersionTLS12}, codes.Unavailable},
		{"who want another node", &tls.Config{RootCAs: pool, ServerName: "n2", Certificates: []tls.Certificate{adminPair}}, codes.Unavailable},
		{"without a role", &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: []tls.Certificate{strangerPair}}, codes.PermissionDenied},
		{"admin, so that the others fail for their reason", &tls.Config{RootCAs: pool, ServerName: "n1", Certificates: []tls.Certificate{adminPair}}, codes.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := getStatus(t.Context(), c.dialWith("n1", tc.conf))
			require.Equal(t, tc.want, status.Code(err), err)
		})
	}
}

func TestUnixSocketIsForRoot(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	info, err := os.Stat(c.node("n1").socket)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSocket|0o600, info.Mode())

	last, err := switchover(t.Context(), dialUnix(t, c.node("n1").socket), "n2")
	require.NoError(t, err)
	require.True(t, last.Done)
}

func TestUnixSocketTurnsOthersAway(t *testing.T) {
	c := newClusterWith(t, func(o *Options) { o.RootUID = currentUID() + 1 })

	_, err := getStatus(t.Context(), dialUnix(t, c.node("n1").socket))
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}

// A socket left behind by a killed antlerd is in nobody's way.
func TestListenUnixReplacesAnOldSocket(t *testing.T) {
	path := t.TempDir() + "/run/antlerd.sock"

	first, err := ListenUnix(t.Context(), path)
	require.NoError(t, err)

	second, err := ListenUnix(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, second.Close())
	require.NoError(t, first.Close())
}

func dialUnix(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()

	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })

	return conn
}

func TestStandardServices(t *testing.T) {
	c := newCluster(t)
	conn := c.dial("n1", c.files.Reader)

	reply, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, reply.Status)

	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))

	listed, err := stream.Recv()
	require.NoError(t, err)

	var names []string
	for _, service := range listed.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}

	require.Subset(t, names, []string{"antler.v1.ClusterService", "antler.v1.VolumeService", "antler.v1.NodeService", "grpc.health.v1.Health"})
}

func TestPanicEndsTheCallOnly(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	conn := c.dial("n1", c.files.Admin)
	volumes := antlerv1.NewVolumeServiceClient(conn)

	_, err := volumes.Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "panic", SizeBytes: 1 << 30})
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, status.Convert(err).Message(), "a bug at")

	_, err = volumes.Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "fine", SizeBytes: 1 << 30})
	require.NoError(t, err)
}
