package node

import (
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/node/config"
	"antler/services/resources"
)

// ConfigType is the type of NodeConfig.
const ConfigType = resource.Type("NodeConfigs.antler")

// ConfigID is the id of the one NodeConfig.
const ConfigID = resource.ID("node")

// NodeConfig is the validated configuration of this node. It is created once,
// before any controller runs. Secrets never leave the process: marshalling it
// gives the public part only.
type NodeConfig = typed.Resource[NodeConfigSpec, NodeConfigExtension]

// NewNodeConfig returns the NodeConfig resource around cfg.
func NewNodeConfig(cfg *config.Config) *NodeConfig {
	return typed.NewResource[NodeConfigSpec, NodeConfigExtension](
		resources.Metadata(ConfigType, ConfigID), NodeConfigSpec{Config: cfg})
}

// NodeConfigSpec wraps the configuration, which nobody changes after it was
// loaded: copies share it.
type NodeConfigSpec struct{ *config.Config }

// DeepCopy returns the spec itself, since a loaded configuration is immutable.
func (s NodeConfigSpec) DeepCopy() NodeConfigSpec { return s }

// MarshalYAML leaves the secrets out.
func (s NodeConfigSpec) MarshalYAML() (any, error) {
	public := *s.Config
	public.PKI = config.PKI{}
	public.Cluster.Password, public.Cluster.AdminPassword, public.Cluster.ChunkserverSecret = "", "", ""
	public.Node.K3s.Token = ""

	return public, nil
}

// NodeConfigExtension defines the type for COSI.
type NodeConfigExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (NodeConfigExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ConfigType, "config")
}
