package moosefs

import (
	"path/filepath"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// VolumeMountSpecType is the type of VolumeMountSpec.
const VolumeMountSpecType = resource.Type("VolumeMountSpecs.antler")

// VolumeMountSpec asks for a mount of one volume's data on this node. Its id is
// the volume's, so that a later volume of the same name is never taken for it.
// VolumeMounts writes it.
type VolumeMountSpec = typed.Resource[VolumeMountSpecSpec, VolumeMountSpecExtension]

// NewVolumeMountSpec returns the mount of the volume with this id, with an empty
// spec.
func NewVolumeMountSpec(id resource.ID) *VolumeMountSpec {
	return typed.NewResource[VolumeMountSpecSpec, VolumeMountSpecExtension](
		resources.Metadata(VolumeMountSpecType, id), VolumeMountSpecSpec{})
}

// VolumeMountSpecExtension defines the type for COSI.
type VolumeMountSpecExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (VolumeMountSpecExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(VolumeMountSpecType, "mountspec", "mountspecs")
}

// VolumeMountSpecSpec is a mount as it shall be.
type VolumeMountSpecSpec struct {
	// Volume is its name.
	Volume string `json:"volume" yaml:"volume"`
	// Options of mfsmount beyond those that every mount has.
	Options []string `json:"options,omitempty" yaml:"options,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s VolumeMountSpecSpec) DeepCopy() VolumeMountSpecSpec {
	s.Options = slices.Clone(s.Options)

	return s
}

// VolumeMountContainer is the name of the container that mounts the volume with
// this id.
func VolumeMountContainer(id string) string { return "mfsvolume-" + id }

// volumeMountPath is where that is, below dir.
func volumeMountPath(dir, id string) string { return filepath.Join(dir, id) }
