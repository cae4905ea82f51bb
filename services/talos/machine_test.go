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

// machined serves resources over a socket as Talos does, and answers only who says
// that it may read (internal/app/machined/pkg/system/services/machined.go there).
// Each rule is asked before a resource is read.
func machined(t *testing.T, rules ...state.FilteringRule) (talos.Machine, state.State) {
	t.Helper()

	socket := filepath.Join(t.TempDir(), "machine.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)

	resources := state.WrapCore(namespaced.NewState(inmem.Build))
	served := state.CoreState(resources)

	for _, rule := range rules {
		served = state.Filter(served, rule)
	}

	serving := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := mayRead(ctx); err != nil {
				return nil, err
			}

			return handler(ctx, request)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := mayRead(stream.Context()); err != nil {
				return err
			}

			return handler(srv, stream)
		}),
	)
	v1alpha1.RegisterStateServer(serving, server.NewState(served))

	go func() { _ = serving.Serve(listener) }()
	t.Cleanup(serving.Stop)

	return talos.Machine{Socket: socket}, resources
}

func mayRead(ctx context.Context) error {
	got, _ := metadata.FromIncomingContext(ctx)
	if !slices.Contains(got.Get(constants.APIAuthzRoleMetadataKey), string(role.Reader)) {
		return status.Error(codes.PermissionDenied, "not authorized")
	}

	return nil
}

func TestTheNodesStageIsAskedFor(t *testing.T) {
	machine, resources := machined(t)

	_, err := machine.GoesDown(t.Context())
	require.ErrorContains(t, err, "ask machined for the node's stage")

	status := runtime.NewMachineStatus()
	require.NoError(t, resources.Create(t.Context(), status))

	for stage, want := range map[runtime.MachineStage]bool{
		runtime.MachineStageBooting: false, runtime.MachineStageRunning: false, runtime.MachineStageInstalling: false,
		runtime.MachineStageRebooting: true, runtime.MachineStageShuttingDown: true, runtime.MachineStageResetting: true,
		runtime.MachineStageUpgrading: true,
	} {
		status.TypedSpec().Stage = stage
		require.NoError(t, resources.Update(t.Context(), status))

		goesDown, err := machine.GoesDown(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, goesDown, stage)
	}
}
