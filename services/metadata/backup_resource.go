package metadata

import (
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// BackupStatusType is the type of BackupStatus.
const BackupStatusType = resource.Type("BackupStatuses.antler")

// BackupStatus is the resource around BackupStatusSpec. There is none on a node
// that makes no backups.
type BackupStatus = typed.Resource[BackupStatusSpec, BackupStatusExtension]

// BackupStatusID is the id of the one BackupStatus.
const BackupStatusID = resource.ID("backup")

// NewBackupStatus returns the one BackupStatus with an empty spec.
func NewBackupStatus() *BackupStatus {
	return typed.NewResource[BackupStatusSpec, BackupStatusExtension](
		resources.Metadata(BackupStatusType, BackupStatusID), BackupStatusSpec{})
}

// BackupStatusExtension defines the type for COSI.
type BackupStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (BackupStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(BackupStatusType, "backup")
}

// BackupStatusSpec is what has come of this node's backups of the metadata.
type BackupStatusSpec struct {
	// Last is when the newest one was begun, by this run of antlerd or an earlier
	// one; zero if there is none.
	Last time.Time `yaml:"last,omitempty"`
	// Next is when the next one is due; zero where this node doesn't serve.
	Next time.Time `yaml:"next,omitempty"`
	// Error says why the last attempt came to nothing. Where this node doesn't
	// serve there is none: another one makes the backups.
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s BackupStatusSpec) DeepCopy() BackupStatusSpec { return s }
