package replication

import (
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// DeviceUseType is the type of DeviceUse.
const DeviceUseType = resource.Type("DeviceUses.antler")

// DeviceUse is the resource around DeviceUseSpec.
type DeviceUse = typed.Resource[DeviceUseSpec, DeviceUseExtension]

// DeviceUseID is the id of the one DeviceUse.
const DeviceUseID = resource.ID("meta")

// NewDeviceUse returns the one DeviceUse with an empty spec.
func NewDeviceUse() *DeviceUse {
	return typed.NewResource[DeviceUseSpec, DeviceUseExtension](
		resources.Metadata(DeviceUseType, DeviceUseID), DeviceUseSpec{})
}

// DeviceUseExtension defines the type for COSI.
type DeviceUseExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (DeviceUseExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(DeviceUseType, "deviceuse")
}

// DeviceUseSpec is what is made of the replica's device on this node. Whoever
// mounts it writes it: that depends on this package, so this package can't read
// its status.
type DeviceUseSpec struct {
	// Mounted: the device can't become secondary.
	Mounted bool `yaml:"mounted"`
	// Alive: a process that writes to it may run that has not been sent SIGKILL.
	// While it is, frozen I/O must not end: it could tell somebody that it was
	// done.
	Alive bool `yaml:"alive"`
}

// DeepCopy implements typed.DeepCopyable.
func (s DeviceUseSpec) DeepCopy() DeviceUseSpec { return s }
