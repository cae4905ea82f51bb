package talos_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"antler/services/talos"
)

// asMachined lets nobody read who doesn't say so, as machined does.
func asMachined(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	given, _ := metadata.FromIncomingContext(ctx)
	if !slices.Contains(given.Get(constants.APIAuthzRoleMetadataKey), string(role.Reader)) {
		return nil, status.Error(codes.PermissionDenied, "not authorized")
	}

	return handle(ctx, request)
}

// TestTheNodesStageIsAskedFor serves Talos's own resource as machined does.
func TestTheNodesStageIsAskedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "machine.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)

	resources := state.WrapCore(namespaced.NewState(inmem.Build))
	machined := grpc.NewServer(grpc.UnaryInterceptor(asMachined))
	v1alpha1.RegisterStateServer(machined, server.NewState(resources))

	go func() { _ = machined.Serve(listener) }()
	t.Cleanup(machined.Stop)

	machine := talos.Machine{Socket: socket}

	_, err = machine.GoesDown(t.Context())
	require.ErrorContains(t, err, "ask machined for the node's stage")

	stage := runtime.NewMachineStatus()
	require.NoError(t, resources.Create(t.Context(), stage))

	for value, want := range map[runtime.MachineStage]bool{
		runtime.MachineStageBooting: false, runtime.MachineStageRunning: false, runtime.MachineStageInstalling: false,
		runtime.MachineStageRebooting: true, runtime.MachineStageShuttingDown: true, runtime.MachineStageResetting: true,
		runtime.MachineStageUpgrading: true,
	} {
		stage.TypedSpec().Stage = value
		require.NoError(t, resources.Update(t.Context(), stage))

		goesDown, err := machine.GoesDown(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, goesDown, value)
	}
}
