package talos_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"antler/services/talos"
)

// TestTheNodesStageIsAskedFor serves Talos's own resource as machined does.
func TestTheNodesStageIsAskedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "machine.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)

	resources := state.WrapCore(namespaced.NewState(inmem.Build))
	machined := grpc.NewServer()
	v1alpha1.RegisterStateServer(machined, server.NewState(resources))

	go func() { _ = machined.Serve(listener) }()
	t.Cleanup(machined.Stop)

	machine := talos.Machine{Socket: socket}

	_, err = machine.GoesDown(t.Context())
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
