package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
)

// place is where a method is carried out.
type place int

const (
	// here: by whichever node is asked.
	here place = iota
	// serving: by the node that serves.
	serving
)

// method is a row of the table: who may call it, and where it is carried out.
type method struct {
	role Role
	at   place
}

// methods is the table of all methods that people call. What is not in it is
// denied, so that a new method without a row can't be called.
func methods() map[string]method {
	return map[string]method{
		antlerv1.ClusterService_GetStatus_FullMethodName:         {RoleReader, here},
		antlerv1.ClusterService_WatchEvents_FullMethodName:       {RoleReader, here},
		antlerv1.ClusterService_Switchover_FullMethodName:        {RoleAdmin, here},
		antlerv1.ClusterService_Failover_FullMethodName:          {RoleAdmin, here},
		antlerv1.ClusterService_ReplaceNode_FullMethodName:       {RoleAdmin, here},
		antlerv1.ClusterService_ResolveSplitBrain_FullMethodName: {RoleAdmin, here},

		antlerv1.VolumeService_Get_FullMethodName:          {RoleReader, serving},
		antlerv1.VolumeService_List_FullMethodName:         {RoleReader, serving},
		antlerv1.VolumeService_ListArchived_FullMethodName: {RoleReader, serving},
		antlerv1.VolumeService_Create_FullMethodName:       {RoleAdmin, serving},
		antlerv1.VolumeService_Adopt_FullMethodName:        {RoleAdmin, serving},
		antlerv1.VolumeService_Expand_FullMethodName:       {RoleAdmin, serving},
		antlerv1.VolumeService_Delete_FullMethodName:       {RoleAdmin, serving},
		antlerv1.VolumeService_Undelete_FullMethodName:     {RoleAdmin, serving},
		antlerv1.VolumeService_Release_FullMethodName:      {RoleAdmin, serving},

		// What the driver can do is the same on every node.
		csi.Controller_ControllerGetCapabilities_FullMethodName: {RoleAdmin, here},

		antlerv1.MetadataService_ListSources_FullMethodName: {RoleReader, here},
		antlerv1.MetadataService_Fetch_FullMethodName:       {RoleAdmin, here},
		antlerv1.MetadataService_Restore_FullMethodName:     {RoleAdmin, here},

		antlerv1.NodeService_ListServices_FullMethodName: {RoleReader, here},
		antlerv1.NodeService_StreamLogs_FullMethodName:   {RoleReader, here},
		antlerv1.NodeService_GetResources_FullMethodName: {RoleReader, here},
		antlerv1.NodeService_GetSystem_FullMethodName:    {RoleReader, here},
		antlerv1.NodeService_Upgrade_FullMethodName:      {RoleAdmin, here},
	}
}

// services are those whose methods all have the same row, but for those that
// are in the table of methods.
func services() map[string]method {
	return map[string]method{
		"antler.v1.PeerService":                    {RoleNode, here},
		"csi.v1.Identity":                          {RoleAdmin, here},
		"csi.v1.Node":                              {RoleAdmin, here},
		"csi.v1.Controller":                        {RoleAdmin, serving},
		"grpc.health.v1.Health":                    {RoleReader, here},
		"grpc.reflection.v1.ServerReflection":      {RoleReader, here},
		"grpc.reflection.v1alpha.ServerReflection": {RoleReader, here},
	}
}

// authorize says where the method is carried out, or why the caller may not
// call it.
func authorize(caller Caller, fullMethod string) (place, error) {
	row, known := methods()[fullMethod]
	if !known {
		service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
		row = services()[service]
	}

	if row.role != RoleNone && mayAct(caller.Role, row.role) {
		return row.at, nil
	}

	name := fullMethod[strings.LastIndex(fullMethod, "/")+1:]

	return here, problem(codes.PermissionDenied, "ROLE",
		fmt.Sprintf("%s is a %s and may not call %s", caller.Name, roleWord(caller.Role), name),
		hintFor(row.role))
}

// mayAct: an administrator may all that a reader may. A node may read, which it
// does to put the cluster's status together; what it asks for a person comes
// with that person's role.
func mayAct(has, needs Role) bool {
	return has == needs || needs == RoleReader && (has == RoleAdmin || has == RoleNode)
}

func roleWord(role Role) string {
	if role == RoleNone {
		return "stranger (no role in the certificate)"
	}

	return string(role)
}

func hintFor(needs Role) string {
	switch needs {
	case RoleAdmin:
		return "use admin.yaml, which `antlerctl gen config` made"
	case RoleReader:
		return "use a certificate that `antlerctl gen config` or `antlerctl gen cert` made"
	default:
		return "only nodes of the cluster may"
	}
}

// withCaller is ctx with the caller in it.
func withCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}
