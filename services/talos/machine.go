package talos

import (
	"context"
	"errors"
	"fmt"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/protobuf/client"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// MachineSocket is where machined lets an extension's service read the node's
// resources. It answers the service alone, by its process or its mount namespace:
// antlerd, in a container of its own, is refused.
const MachineSocket = "/system/run/machined/machine.sock"

// machined takes the caller's word for its role, as far as the service may have it.
// Who names none may do nothing.
const (
	roleKey = "talos-role"
	role    = "os:reader"
)

// Machine asks machined about the node. Only what is Talos's contract is named here;
// its types come with all that they depend on, and are what the tests hold this
// against.
type Machine struct {
	Socket string
}

// reader reads machined's resources.
type reader struct {
	conn  *grpc.ClientConn
	state state.CoreState
}

func (m Machine) connect() (reader, error) {
	conn, err := grpc.NewClient("unix://"+m.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return reader{}, fmt.Errorf("connect to machined at %s: %w", m.Socket, err)
	}

	return reader{conn, client.NewAdapter(v1alpha1.NewStateClient(conn))}, nil
}

// get decodes a resource into spec. The error is that of state.IsNotFoundError if
// there is none.
func (r reader) get(ctx context.Context, namespace, kind, id string, spec any) error {
	ctx = metadata.AppendToOutgoingContext(ctx, roleKey, role)

	found, err := r.state.Get(ctx, resource.NewMetadata(namespace, kind, id, resource.VersionUndefined),
		state.WithGetUnmarshalOptions(state.WithSkipProtobufUnmarshal()))
	if err != nil {
		return err
	}

	return decode(found, spec)
}

// each calls use with the id and the decoded spec of every resource of a kind in the
// runtime namespace.
func each[T any](ctx context.Context, r reader, kind string, use func(id string, spec T)) error {
	ctx = metadata.AppendToOutgoingContext(ctx, roleKey, role)

	found, err := r.state.List(ctx, resource.NewMetadata(runtimeNamespace, kind, "", resource.VersionUndefined),
		state.WithListUnmarshalOptions(state.WithSkipProtobufUnmarshal()))
	if err != nil {
		return err
	}

	for _, item := range found.Items {
		var spec T

		err = decode(item, &spec)
		if err != nil {
			return err
		}

		use(item.Metadata().ID(), spec)
	}

	return nil
}

// decode takes a resource in the form in which Talos shows it to people.
func decode(from resource.Resource, into any) error {
	sent, ours := from.(*protobuf.Resource)
	if !ours {
		return fmt.Errorf("%s is a %T, which can't be read", from.Metadata(), from)
	}

	message, err := sent.Marshal()
	if err != nil {
		return fmt.Errorf("read %s: %w", from.Metadata(), err)
	}

	err = yaml.Unmarshal([]byte(message.GetSpec().GetYamlSpec()), into)
	if err != nil {
		return fmt.Errorf("read %s: %w", from.Metadata(), err)
	}

	return nil
}

// leaving are the stages (MachineStatus.stage) in which the node goes down.
var leaving = map[string]bool{"rebooting": true, "shutting down": true, "resetting": true, "upgrading": true}

// GoesDown reports whether the node is being shut down, rebooted or upgraded, and
// not only this service stopped.
func (m Machine) GoesDown(ctx context.Context) (bool, error) {
	machined, err := m.connect()
	if err != nil {
		return false, err
	}
	defer machined.conn.Close()

	var status struct {
		Stage string `yaml:"stage"`
	}

	err = machined.get(ctx, runtimeNamespace, "MachineStatuses.runtime.talos.dev", "machine", &status)
	if err == nil && status.Stage == "" {
		err = errors.New("its answer has none")
	}

	if err != nil {
		return false, fmt.Errorf("ask machined for the node's stage: %w", err)
	}

	return leaving[status.Stage], nil
}
