package containers

import (
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// InventoryType is the type of Inventory, and InventoryID the only one's name.
const (
	InventoryType = resource.Type("ContainerInventories.antler")
	InventoryID   = "containers"
)

// Inventory is the resource around InventorySpec.
type Inventory = typed.Resource[InventorySpec, InventoryExtension]

// NewInventory returns the Inventory with an empty spec.
func NewInventory() *Inventory {
	return typed.NewResource[InventorySpec, InventoryExtension](
		resources.Metadata(InventoryType, InventoryID), InventorySpec{})
}

// InventoryExtension defines the type for COSI.
type InventoryExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (InventoryExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(InventoryType, "containerinventory")
}

// InventorySpec says what is known of the containers as a whole.
type InventorySpec struct {
	// Complete says that every container that was there before antlerd was started
	// has a ContainerStatus.
	Complete bool `yaml:"complete"`
}

// DeepCopy implements typed.DeepCopyable.
func (s InventorySpec) DeepCopy() InventorySpec { return s }
