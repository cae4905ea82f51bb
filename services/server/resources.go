package server

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/registry"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/address"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/kubernetes"
	"antler/services/metadata"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/replication"
	"antler/services/resources"
)

// RegisterResources makes all resource types known in the state, by their names
// and aliases, so that GetResources finds them. Call it once.
func RegisterResources(ctx context.Context, st state.State) error {
	types := registry.NewResourceRegistry(st)

	for _, r := range []meta.ResourceWithRD{
		&authority.AuthorityStatus{}, &authority.NodeReport{},
		&replication.ReplicaSpec{}, &replication.ReplicaStatus{}, &replication.DeviceUse{},
		&metadata.MasterSpec{}, &metadata.MasterStatus{}, &metadata.BackupStatus{},
		&address.AddressSpec{}, &address.AddressStatus{},
		&containers.ContainerSpec{}, &containers.ContainerStatus{}, &containers.Inventory{},
		&moosefs.Status{}, &moosefs.ChunkStoreStatus{}, &moosefs.MountStatus{}, &moosefs.VolumeMountSpec{},
		&node.NodeConfig{}, &node.ModuleStatus{}, &node.K3sStatus{},
		&kubernetes.ProvisionerStatus{},
	} {
		err := types.Register(ctx, r)
		if err != nil {
			return fmt.Errorf("register resource type %s: %w", r.ResourceDefinition().Type, err)
		}
	}

	return nil
}

// GetResources implements antlerv1.NodeServiceServer.
func (n *nodeService) GetResources(ctx context.Context, request *antlerv1.GetResourcesRequest) (*antlerv1.GetResourcesResponse, error) {
	st := n.server.options.State
	out := &antlerv1.GetResourcesResponse{Node: n.server.options.Config.Node.Name}

	definitions, err := definitions(ctx, st)
	if err != nil {
		return nil, explained(err, "get resources")
	}

	if request.GetType() == "" {
		out.Resources, err = encodeAll(definitions)

		for i, r := range out.Resources {
			spec := definitions[i].TypedSpec()
			r.Name, r.Meaning = shortName(spec), meanings()[spec.Type]
		}

		return out, explained(err, "list resource types")
	}

	definition, found := pick(definitions, request.GetType())
	if !found {
		return nil, problem(codes.NotFound, "NO_TYPE", fmt.Sprintf("no resource type is called %q", request.GetType()),
			"name one of: "+strings.Join(shortNames(definitions), ", "))
	}

	spec := definition.TypedSpec()

	list, err := st.List(ctx, resource.NewMetadata(spec.DefaultNamespace, spec.Type, "", resource.VersionUndefined))
	if err != nil {
		return nil, explained(err, "get resources")
	}

	var chosen []resource.Resource

	for _, item := range list.Items {
		if request.GetId() == "" || item.Metadata().ID() == request.GetId() {
			chosen = append(chosen, item)
		}
	}

	if request.GetId() != "" && len(chosen) == 0 {
		return nil, problem(codes.NotFound, "NO_RESOURCE", fmt.Sprintf("no %s is called %q on %s", spec.DisplayType, request.GetId(), out.Node), "leave the id out to see all")
	}

	out.Resources, err = encodeAll(chosen)

	return out, explained(err, "get resources")
}

func definitions(ctx context.Context, st state.State) ([]*meta.ResourceDefinition, error) {
	list, err := safe.StateListAll[*meta.ResourceDefinition](ctx, st)
	if err != nil {
		return nil, err
	}

	var out []*meta.ResourceDefinition

	for definition := range list.All() {
		if definition.TypedSpec().DefaultNamespace == resources.Namespace {
			out = append(out, definition)
		}
	}

	return out, nil
}

// pick finds a type by its name or by one of its aliases, whatever the case.
func pick(all []*meta.ResourceDefinition, name string) (*meta.ResourceDefinition, bool) {
	name = strings.ToLower(name)

	for _, definition := range all {
		spec := definition.TypedSpec()
		if strings.ToLower(spec.Type) == name || slices.Contains(spec.Aliases, name) {
			return definition, true
		}
	}

	// Made-up aliases (initials, plurals) come after what people chose.
	for _, definition := range all {
		if slices.Contains(definition.TypedSpec().AllAliases, name) {
			return definition, true
		}
	}

	return nil, false
}

func shortNames(all []*meta.ResourceDefinition) []string {
	var out []string

	for _, definition := range all {
		out = append(out, shortName(definition.TypedSpec()))
	}

	return out
}

// shortName is what people type.
func shortName(spec *meta.ResourceDefinitionSpec) resource.Type {
	if len(spec.Aliases) == 0 {
		return spec.Type
	}

	return spec.Aliases[0]
}

func encodeAll[T resource.Resource](list []T) ([]*antlerv1.Resource, error) {
	out := make([]*antlerv1.Resource, 0, len(list))

	for _, item := range list {
		encoded, err := encode(item)
		if err != nil {
			return nil, err
		}

		out = append(out, encoded)
	}

	return out, nil
}

func encode(r resource.Resource) (*antlerv1.Resource, error) {
	md := r.Metadata()

	asYAML, err := yaml.Marshal(r.Spec())
	if err != nil {
		return nil, fmt.Errorf("encode %s/%s: %w", md.Type(), md.ID(), err)
	}

	var spec any

	err = yaml.Unmarshal(asYAML, &spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s/%s: %w", md.Type(), md.ID(), err)
	}

	asJSON, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s/%s: %w", md.Type(), md.ID(), err)
	}

	return &antlerv1.Resource{
		Type: md.Type(), Id: md.ID(), Version: md.Version().String(), Phase: md.Phase().String(), Owner: md.Owner(),
		Yaml: string(asYAML), Json: string(asJSON),
	}, nil
}
