package node

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/node/config"
	"antler/services/resources"
)

// K3sStatusType is the type of K3sStatus.
const K3sStatusType = resource.Type("K3sStatuses.antler")

// K3sStatusID is the id of the one K3sStatus.
const K3sStatusID = resource.ID("k3s")

// K3sStatus says what k3s is on this node, and whether the image has one. It is
// there only where the configuration asks for k3s, and is created once: neither
// changes while antlerd runs. Whether k3s is well Kubernetes says.
type K3sStatus = typed.Resource[K3sStatusSpec, K3sStatusExtension]

// K3sStatusSpec is the content of K3sStatus.
type K3sStatusSpec struct {
	Role config.K3sRole `yaml:"role"`
	// Version that the image was built with; "" if with none.
	Version string `yaml:"version,omitempty"`
	// Error says why k3s does not run.
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s K3sStatusSpec) DeepCopy() K3sStatusSpec { return s }

// NewK3sStatus looks at the system below root, which is "/" but in tests.
func NewK3sStatus(cfg *config.Config, root string) *K3sStatus {
	// Without a version k3s works as well.
	version, _ := os.ReadFile(filepath.Join(root, config.K3sVersion))

	return typed.NewResource[K3sStatusSpec, K3sStatusExtension](resources.Metadata(K3sStatusType, K3sStatusID), K3sStatusSpec{
		Role: cfg.Node.K3s.Role, Version: strings.TrimSpace(string(version)), Error: K3sMissing(cfg, root),
	})
}

// K3sStatusExtension defines the type for COSI.
type K3sStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (K3sStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(K3sStatusType, "k3s")
}
