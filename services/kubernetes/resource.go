package kubernetes

import (
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// ProvisionerStatusType is the type of ProvisionerStatus.
const ProvisionerStatusType = resource.Type("ProvisionerStatuses.antler")

// ProvisionerStatusID is the id of the one ProvisionerStatus.
const ProvisionerStatusID = resource.ID("provisioner")

// ProvisionerStatus says what becomes of Kubernetes's claims. It exists where
// provisioning is configured.
type ProvisionerStatus = typed.Resource[ProvisionerStatusSpec, ProvisionerStatusExtension]

// NewProvisionerStatus returns the one ProvisionerStatus with an empty spec.
func NewProvisionerStatus() *ProvisionerStatus {
	return typed.NewResource[ProvisionerStatusSpec, ProvisionerStatusExtension](
		resources.Metadata(ProvisionerStatusType, ProvisionerStatusID), ProvisionerStatusSpec{})
}

// ProvisionerStatusExtension defines the type for COSI.
type ProvisionerStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ProvisionerStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ProvisionerStatusType, "provisioner")
}

// ProvisionerPhase is how far the provisioner of a node is.
type ProvisionerPhase string

const (
	// ProvisionerIdle means that another node serves, or none does.
	ProvisionerIdle ProvisionerPhase = "idle"
	// ProvisionerConnecting means that the API server gives no answer that will do.
	ProvisionerConnecting ProvisionerPhase = "connecting"
	// ProvisionerWorking means that claims are watched.
	ProvisionerWorking ProvisionerPhase = "working"
)

// ProvisionerStatusSpec is the state of this node's provisioner.
type ProvisionerStatusSpec struct {
	Phase ProvisionerPhase `yaml:"phase"`
	// Epoch in which it works.
	Epoch      uint64 `yaml:"epoch,omitempty"`
	Kubeconfig string `yaml:"kubeconfig"`
	// Server is the API server's address.
	Server string `yaml:"server,omitempty"`
	// Since when it is in this phase.
	Since time.Time `yaml:"since,omitempty"`
	// Done since antlerd's start.
	Done ProvisionerCounts `yaml:"done"`
	// Error says why it can't work, and what to do about it.
	Error string `yaml:"error,omitempty"`
	// SnapshotsError says why it takes no VolumeSnapshots, while claims are provisioned.
	SnapshotsError string `yaml:"snapshotsError,omitempty"`
	// TaintsError says why the taints of dead nodes are not as they should be.
	TaintsError string `yaml:"taintsError,omitempty"`
}

// ProvisionerCounts count what was done.
type ProvisionerCounts struct {
	// Provisioned claims, Deleted volumes of released persistent volumes,
	// Expanded claims, and claims Modified to another VolumeAttributesClass.
	Provisioned uint64 `yaml:"provisioned"`
	Deleted     uint64 `yaml:"deleted"`
	Expanded    uint64 `yaml:"expanded"`
	Modified    uint64 `yaml:"modified"`
	// Failed attempts of all these. Each is made again.
	Failed uint64 `yaml:"failed"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ProvisionerStatusSpec) DeepCopy() ProvisionerStatusSpec { return s }
