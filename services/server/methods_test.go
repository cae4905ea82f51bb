package server

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// Every method has a row: what has none can't be called.
func TestEveryMethodIsInTheTable(t *testing.T) {
	c := newCluster(t)

	for service, info := range c.node("n1").server.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			_, row := methods()["/"+service+"/"+m.Name]
			_, whole := services()[service]
			require.True(t, row || whole, "%s/%s", service, m.Name)
		}
	}
}

func TestRoles(t *testing.T) {
	const (
		look   = antlerv1.ClusterService_GetStatus_FullMethodName
		act    = antlerv1.ClusterService_Switchover_FullMethodName
		peer   = "/antler.v1.PeerService/Renew"
		health = "/grpc.health.v1.Health/Check"
		other  = "/antler.v1.ClusterService/NoSuchMethod"
		stage  = csi.Node_NodeStageVolume_FullMethodName
		remove = csi.Controller_DeleteVolume_FullMethodName
	)

	for _, tc := range []struct {
		role    Role
		allowed []string
		denied  []string
	}{
		{RoleAdmin, []string{look, act, health, stage, remove}, []string{peer, other}},
		{RoleReader, []string{look, health}, []string{act, peer, other, stage, remove}},
		{RoleNode, []string{look, peer, health}, []string{act, other, stage, remove}},
		{RoleNone, nil, []string{look, act, peer, health, other, stage, remove}},
	} {
		for _, name := range tc.allowed {
			_, err := authorize(Caller{Name: "somebody", Role: tc.role}, name)
			require.NoError(t, err, "%s %s", tc.role, name)
		}

		for _, name := range tc.denied {
			_, err := authorize(Caller{Name: "somebody", Role: tc.role}, name)
			require.Equal(t, codes.PermissionDenied, status.Code(err), "%s %s", tc.role, name)
		}
	}
}

// What changes volumes is carried out by the node that serves and nowhere else.
func TestWhereCSIIsCarriedOut(t *testing.T) {
	admin := Caller{Name: "root", Role: RoleAdmin}

	for _, service := range []grpc.ServiceDesc{csi.Controller_ServiceDesc, csi.Node_ServiceDesc, csi.Identity_ServiceDesc} {
		for _, m := range service.Methods {
			want := here
			if service.ServiceName == csi.Controller_ServiceDesc.ServiceName && m.MethodName != "ControllerGetCapabilities" {
				want = serving
			}

			at, err := authorize(admin, "/"+service.ServiceName+"/"+m.MethodName)
			require.NoError(t, err)
			require.Equal(t, want, at, m.MethodName)
		}
	}
}

func TestDenialSaysWhatToDo(t *testing.T) {
	_, err := authorize(Caller{Name: "bob", Role: RoleReader}, antlerv1.ClusterService_Switchover_FullMethodName)

	answer := status.Convert(err)
	require.Equal(t, "bob is a reader and may not call Switchover", answer.Message())
	require.Equal(t, "use admin.yaml, which `antlerctl gen config` made", hintOf(t, err))
}

// hintOf returns what an error says about what to do.
func hintOf(t *testing.T, err error) string {
	t.Helper()

	for _, detail := range status.Convert(err).Details() {
		if help, ok := detail.(*errdetails.Help); ok {
			return help.GetLinks()[0].GetDescription()
		}
	}

	return ""
}

// reasonOf returns the reason that an error gives to programs.
func reasonOf(t *testing.T, err error) string {
	t.Helper()

	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			require.Equal(t, Domain, info.GetDomain())

			return info.GetReason()
		}
	}

	return ""
}
