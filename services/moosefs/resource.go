package moosefs

import (
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// Events takes what people should read about later.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// ChunkStoreStatusType is the type of ChunkStoreStatus.
const ChunkStoreStatusType = resource.Type("ChunkStoreStatuses.antler")

// ChunkStoreStatus says of one chunk store of this node whether it is in use.
// Its id is the store's index in the configuration.
type ChunkStoreStatus = typed.Resource[ChunkStoreStatusSpec, ChunkStoreStatusExtension]

// NewChunkStoreStatus returns the status of a store with an empty spec.
func NewChunkStoreStatus(id resource.ID) *ChunkStoreStatus {
	return typed.NewResource[ChunkStoreStatusSpec, ChunkStoreStatusExtension](
		resources.Metadata(ChunkStoreStatusType, id), ChunkStoreStatusSpec{})
}

// ChunkStoreStatusExtension defines the type for COSI.
type ChunkStoreStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ChunkStoreStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ChunkStoreStatusType, "chunkstore", "chunkstores")
}

// ChunkStoreStatusSpec is the state of a chunk store.
type ChunkStoreStatusSpec struct {
	// Device or path as configured.
	Configured string `yaml:"configured"`
	// Ready: handed to the chunkserver, at Path.
	Ready bool   `yaml:"ready"`
	Path  string `yaml:"path,omitempty"`
	// Durable: a write there returns when it is on disk.
	Durable bool `yaml:"durable"`
	// Error says why it is not in use, and what to do about it.
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ChunkStoreStatusSpec) DeepCopy() ChunkStoreStatusSpec { return s }

// MountStatusType is the type of MountStatus.
const MountStatusType = resource.Type("MountStatuses.antler")

// MountStatus is a MooseFS mount of this node. Its id is the name of the
// container that holds it.
type MountStatus = typed.Resource[MountStatusSpec, MountStatusExtension]

// NewMountStatus returns the status of a mount with an empty spec.
func NewMountStatus(id resource.ID) *MountStatus {
	return typed.NewResource[MountStatusSpec, MountStatusExtension](
		resources.Metadata(MountStatusType, id), MountStatusSpec{})
}

// MountStatusExtension defines the type for COSI.
type MountStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (MountStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(MountStatusType, "mount", "mounts")
}

// MountStatusSpec is the state of a mount.
type MountStatusSpec struct {
	Path string `yaml:"path"`
	// Volume is the one that is mounted there; empty for all of MooseFS.
	Volume string `yaml:"volume,omitempty"`
	// Mounted: a FUSE file system is mounted at Path.
	Mounted bool `yaml:"mounted"`
	// Alive: it answered statfs in time, so its session with the master works.
	Alive bool   `yaml:"alive"`
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s MountStatusSpec) DeepCopy() MountStatusSpec { return s }

// StatusType is the type of Status.
const StatusType = resource.Type("MooseFSStatuses.antler")

// StatusID is the id of the one Status.
const StatusID = resource.ID("moosefs")

// Status is what the master says about the cluster's storage. It exists on the
// serving node only.
type Status = typed.Resource[StatusSpec, StatusExtension]

// NewStatus returns the one Status with an empty spec.
func NewStatus() *Status {
	return typed.NewResource[StatusSpec, StatusExtension](
		resources.Metadata(StatusType, StatusID), StatusSpec{})
}

// StatusExtension defines the type for COSI.
type StatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (StatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(StatusType, "moosefs")
}

// StatusSpec is the storage as the master sees it.
type StatusSpec struct {
	Version     string `yaml:"version,omitempty"`
	MetaVersion uint64 `yaml:"metaVersion"`
	// Spaces in bytes, over all chunkservers and before copies.
	TotalSpace uint64 `yaml:"totalSpace"`
	FreeSpace  uint64 `yaml:"freeSpace"`
	TrashSpace uint64 `yaml:"trashSpace"`
	// Chunks, and those with no copy, with one of several, with too few.
	Chunks     uint64 `yaml:"chunks"`
	Missing    uint64 `yaml:"missing"`
	Endangered uint64 `yaml:"endangered"`
	Undergoal  uint64 `yaml:"undergoal"`
	// Settled is false while chunkservers come or go.
	Settled bool `yaml:"settled"`
	// Sessions that are connected now.
	Sessions     int                 `yaml:"sessions"`
	Chunkservers []ChunkserverStatus `yaml:"chunkservers,omitempty"`
	Metaloggers  []MetaloggerStatus  `yaml:"metaloggers,omitempty"`
	// Classes: the defaults for new data are in place.
	DefaultsSet bool `yaml:"defaultsSet"`
	// Asked is when the master last answered.
	Asked time.Time `yaml:"asked,omitempty"`
	Error string    `yaml:"error,omitempty"`
}

// ChunkserverStatus is one chunkserver.
type ChunkserverStatus struct {
	Address     string `yaml:"address"`
	Node        string `yaml:"node,omitempty"`
	Connected   bool   `yaml:"connected"`
	Maintenance bool   `yaml:"maintenance,omitempty"`
	Version     string `yaml:"version,omitempty"`
	Used        uint64 `yaml:"used"`
	Total       uint64 `yaml:"total"`
	Chunks      uint32 `yaml:"chunks"`
	Errors      uint32 `yaml:"errors"`
}

// MetaloggerStatus is one metalogger that is connected.
type MetaloggerStatus struct {
	Address string `yaml:"address"`
	Node    string `yaml:"node,omitempty"`
	Version string `yaml:"version,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s StatusSpec) DeepCopy() StatusSpec {
	s.Chunkservers = append([]ChunkserverStatus(nil), s.Chunkservers...)
	s.Metaloggers = append([]MetaloggerStatus(nil), s.Metaloggers...)

	return s
}
