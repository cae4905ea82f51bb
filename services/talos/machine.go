package talos

import (
	"context"
	"errors"
	"fmt"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// MachineSocket is where machined lets an extension's service read the node's
// resources.
const MachineSocket = "/system/run/machined/machine.sock"

// roleKey and roleReader are how a call on that socket says as whom it is made:
// machined refuses a call that doesn't.
const (
	roleKey    = "talos-role"
	roleReader = "os:reader"
)

// Machine asks machined about the node. Only what is Talos's contract is named here;
// its types come with all that they depend on, and are what the tests hold this
// against.
type Machine struct {
	Socket string
}

// leaving are the stages (MachineStatus.stage) in which the node goes down.
var leaving = map[string]bool{"rebooting": true, "shutting down": true, "resetting": true, "upgrading": true}

// GoesDown reports whether the node is being shut down, rebooted or upgraded, and
// not only this service stopped.
func (m Machine) GoesDown(ctx context.Context) (bool, error) {
	conn, err := grpc.NewClient("unix://"+m.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return false, fmt.Errorf("connect to machined: %w", err)
	}
	defer conn.Close()

	ctx = metadata.AppendToOutgoingContext(ctx, roleKey, roleReader)

	answer, err := v1alpha1.NewStateClient(conn).Get(ctx, &v1alpha1.GetRequest{
		Namespace: "runtime", Type: "MachineStatuses.runtime.talos.dev", Id: "machine",
	})
	if err != nil {
		return false, fmt.Errorf("ask machined for the node's stage: %w", err)
	}

	var status struct {
		Stage string `yaml:"stage"`
	}

	err = yaml.Unmarshal([]byte(answer.GetResource().GetSpec().GetYamlSpec()), &status)
	if err != nil || status.Stage == "" {
		return false, fmt.Errorf("ask machined for the node's stage: its answer has none: %w", errors.Join(err, errors.New(answer.String())))
	}

	return leaving[status.Stage], nil
}
