package metadata

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// MasterSpecType is the type of MasterSpec.
const MasterSpecType = resource.Type("MasterSpecs.antler")

// MasterSpec is the resource around MasterSpecSpec.
type MasterSpec = typed.Resource[MasterSpecSpec, MasterSpecExtension]

// MasterSpecID is the id of the one MasterSpec.
const MasterSpecID = resource.ID("master")

// NewMasterSpec returns the one MasterSpec with an empty spec.
func NewMasterSpec() *MasterSpec {
	return typed.NewResource[MasterSpecSpec, MasterSpecExtension](
		resources.Metadata(MasterSpecType, MasterSpecID), MasterSpecSpec{})
}

// MasterSpecExtension defines the type for COSI.
type MasterSpecExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (MasterSpecExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(MasterSpecType, "masterspec")
}

// StopMode says how much time a stop may take.
type StopMode string

const (
	// StopClean saves the metadata and has every request answered first (planned
	// switchover).
	StopClean StopMode = "clean"
	// StopKill sends SIGKILL at once (lease lost, device gone); recovery is
	// `mfsmaster -a` on the next start.
	StopKill StopMode = "kill"
)

// MasterSpecSpec is what mfsmaster on this node should be.
type MasterSpecSpec struct {
	// Run asks for a mounted file system and a serving mfsmaster.
	Run bool `yaml:"run"`
	// Epoch in which it may serve.
	Epoch uint64 `yaml:"epoch"`
	// Device to mount.
	Device string `yaml:"device,omitempty"`
	// Format allows mkfs and the first metadata.mfs: consent is recorded and
	// nothing was ever served.
	Format bool `yaml:"format"`
	// MinMetaVersion and MetadataID are the quorum's record: nothing older and
	// nothing else is started. Zero and empty while nothing was served.
	MinMetaVersion uint64 `yaml:"minMetaVersion"`
	MetadataID     uint64 `yaml:"metadataID"`
	// Chunkservers that should be connected before clients' requests are let in: as
	// many as there are to be copies, or fewer nodes are there to have them.
	Chunkservers int `yaml:"chunkservers"`
	// Stop is how to stop when Run is false.
	Stop StopMode `yaml:"stop,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s MasterSpecSpec) DeepCopy() MasterSpecSpec { return s }

// MasterStatusType is the type of MasterStatus.
const MasterStatusType = resource.Type("MasterStatuses.antler")

// MasterStatus is the resource around MasterStatusSpec.
type MasterStatus = typed.Resource[MasterStatusSpec, MasterStatusExtension]

// MasterStatusID is the id of the one MasterStatus.
const MasterStatusID = resource.ID("master")

// NewMasterStatus returns the one MasterStatus with an empty spec.
func NewMasterStatus() *MasterStatus {
	return typed.NewResource[MasterStatusSpec, MasterStatusExtension](
		resources.Metadata(MasterStatusType, MasterStatusID), MasterStatusSpec{})
}

// MasterStatusExtension defines the type for COSI.
type MasterStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (MasterStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(MasterStatusType, "master")
}

// Phase is the step of taking over, in order, or of giving up.
type Phase string

// Phases of the master on this node.
const (
	PhaseStopped    Phase = "stopped"
	PhaseFormatting Phase = "formatting"
	PhaseMounting   Phase = "mounting"
	PhaseRecovering Phase = "recovering"
	PhaseStarting   Phase = "starting"
	PhaseServing    Phase = "serving"
	PhaseRestarting Phase = "restarting"
	// PhaseSaving: it serves still, and saves its metadata before it stops.
	PhaseSaving   Phase = "saving"
	PhaseStopping Phase = "stopping"
	// PhaseUnmounting: no mfsmaster runs any more, and its file system goes.
	PhaseUnmounting Phase = "unmounting"
	// PhaseFull: its file system has no room for the changelog. It stays mounted, and the
	// master is started again as soon as somebody has made room: the other replica is the
	// same, so it is no better.
	PhaseFull Phase = "full"
	// PhaseFailed: this node can't serve; Error says why and what to do.
	PhaseFailed Phase = "failed"
)

// MasterStatusSpec is what mfsmaster on this node is.
type MasterStatusSpec struct {
	Phase Phase `yaml:"phase"`
	// Epoch it serves in.
	Epoch uint64 `yaml:"epoch"`
	// Mounted says that the replica's file system is mounted: while it is, the
	// replica can't become secondary.
	Mounted bool `yaml:"mounted"`
	// Answering says that the last probe over MooseFS's protocol was answered.
	Answering bool `yaml:"answering"`
	// MetaVersion and MetadataID as the master last told them.
	MetaVersion uint64 `yaml:"metaVersion"`
	MetadataID  uint64 `yaml:"metadataID"`
	// Formatted says that this pass created the file system and the first
	// metadata; the authority records it before anything is served.
	Formatted bool `yaml:"formatted"`
	// Restarts in place since this epoch began.
	Restarts int `yaml:"restarts"`
	// Version of mfsmaster, for example "4.57.5".
	Version string `yaml:"version,omitempty"`
	// ReplicaFree is what the replica's file system has left while it is mounted, in bytes,
	// rounded down so that not each change of it is news.
	ReplicaFree uint64 `yaml:"replicaFree,omitempty"`
	// TotalSpace and FreeSpace in bytes, Chunks and missing copies as the
	// master counts them.
	TotalSpace   uint64 `yaml:"totalSpace"`
	FreeSpace    uint64 `yaml:"freeSpace"`
	Chunks       uint64 `yaml:"chunks"`
	Chunkservers int    `yaml:"chunkservers"`
	// Error says what went wrong and what to do next.
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s MasterStatusSpec) DeepCopy() MasterStatusSpec { return s }

// Serving returns the status of this node's master while it serves, and nil otherwise.
// Whether it answers at the moment is another question.
func Serving(ctx context.Context, r controller.Reader) (*MasterStatusSpec, error) {
	master, err := resources.Spec[*MasterStatus](ctx, r, MasterStatusID)
	if err != nil {
		return nil, fmt.Errorf("see whether the master serves here: %w", err)
	}

	if master == nil || master.Phase != PhaseServing {
		return nil, nil
	}

	return master, nil
}
