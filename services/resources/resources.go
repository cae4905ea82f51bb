// Package resources holds what the resource types of all services share: the
// one namespace they live in, and the constructor of their definitions.
//
// Every piece of state in antlerd is a COSI resource. Its type is declared in
// the package that it describes, and exactly one controller writes it. A
// resource is either a Spec (what should be) or a Status (what is); a failover
// can be read off them in order:
//
//	AuthorityStatus -> ReplicaSpec -> ReplicaStatus -> MasterSpec ->
//	MasterStatus -> AddressSpec -> AddressStatus
package resources

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/controller/generic"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/gen/optional"
)

// Namespace is the only COSI namespace of antlerd.
const Namespace = resource.Namespace("antler")

// Define returns the definition of a resource type that lives in Namespace and
// answers to the given aliases in `antlerctl get`.
func Define(t resource.Type, aliases ...resource.Type) meta.ResourceDefinitionSpec {
	return meta.ResourceDefinitionSpec{
		Type:             t,
		DefaultNamespace: Namespace,
		Aliases:          aliases,
	}
}

// Metadata returns the metadata of a resource of type t called id.
func Metadata(t resource.Type, id resource.ID) resource.Metadata {
	return resource.NewMetadata(Namespace, t, id, resource.VersionUndefined)
}

// Input is the one resource of a type, to look at.
func Input(t resource.Type, id resource.ID) controller.Input {
	return controller.Input{Namespace: Namespace, Type: t, ID: optional.Some(id), Kind: controller.InputWeak}
}

// Read returns a resource, nil if there is none.
func Read[R generic.ResourceWithRD](ctx context.Context, r controller.Reader, id resource.ID) (R, error) {
	var none R

	res, err := safe.ReaderGetByID[R](ctx, r, id)

	switch {
	case state.IsNotFoundError(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read %s: %w", id, err)
	}

	return res, nil
}

// Spec returns a copy of what a resource says, nil if there is none.
func Spec[R interface {
	comparable
	generic.ResourceWithRD
	TypedSpec() *S
}, S any](ctx context.Context, r controller.Reader, id resource.ID) (*S, error) {
	res, err := Read[R](ctx, r, id)

	var none R
	if err != nil || res == none {
		return nil, err
	}

	return new(*res.TypedSpec()), nil
}
