package address

import (
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// AddressSpecType is the type of AddressSpec.
const AddressSpecType = resource.Type("AddressSpecs.antler")

// AddressSpec is the resource around AddressSpecSpec.
type AddressSpec = typed.Resource[AddressSpecSpec, AddressSpecExtension]

// AddressSpecID is the id of the one AddressSpec.
const AddressSpecID = resource.ID("floating")

// NewAddressSpec returns the one AddressSpec with an empty spec.
func NewAddressSpec() *AddressSpec {
	return typed.NewResource[AddressSpecSpec, AddressSpecExtension](
		resources.Metadata(AddressSpecType, AddressSpecID), AddressSpecSpec{})
}

// AddressSpecExtension defines the type for COSI.
type AddressSpecExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (AddressSpecExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(AddressSpecType, "addressspec")
}

// AddressSpecSpec is the floating address this node should hold.
type AddressSpecSpec struct {
	// Addresses with prefix length, as netip.Prefix strings.
	Addresses []string `yaml:"addresses"`
	// Candidate: this node may come to hold them.
	Candidate bool `yaml:"candidate,omitempty"`
	// Hold is true on the serving node.
	Hold bool `yaml:"hold"`
	// Epoch in which the address may be held.
	Epoch uint64 `yaml:"epoch"`
}

// DeepCopy implements typed.DeepCopyable.
func (s AddressSpecSpec) DeepCopy() AddressSpecSpec {
	s.Addresses = append([]string(nil), s.Addresses...)

	return s
}

// AddressStatusType is the type of AddressStatus.
const AddressStatusType = resource.Type("AddressStatuses.antler")

// AddressStatus is the resource around AddressStatusSpec.
type AddressStatus = typed.Resource[AddressStatusSpec, AddressStatusExtension]

// AddressStatusID is the id of the one AddressStatus.
const AddressStatusID = resource.ID("floating")

// NewAddressStatus returns the one AddressStatus with an empty spec.
func NewAddressStatus() *AddressStatus {
	return typed.NewResource[AddressStatusSpec, AddressStatusExtension](
		resources.Metadata(AddressStatusType, AddressStatusID), AddressStatusSpec{})
}

// AddressStatusExtension defines the type for COSI.
type AddressStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (AddressStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(AddressStatusType, "address")
}

// AddressStatusSpec is the floating address as this node has it.
type AddressStatusSpec struct {
	// Held lists the addresses assigned here, with their interface.
	Held      []string `yaml:"held"`
	Interface string   `yaml:"interface,omitempty"`
	Epoch     uint64   `yaml:"epoch"`
	// Announced says that the neighbours were told at least once.
	Announced bool   `yaml:"announced"`
	Error     string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s AddressStatusSpec) DeepCopy() AddressStatusSpec {
	s.Held = append([]string(nil), s.Held...)

	return s
}
