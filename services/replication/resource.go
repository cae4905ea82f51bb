package replication

import (
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// ReplicaSpecType is the type of ReplicaSpec.
const ReplicaSpecType = resource.Type("ReplicaSpecs.antler")

// ReplicaSpec is the resource around ReplicaSpecSpec.
type ReplicaSpec = typed.Resource[ReplicaSpecSpec, ReplicaSpecExtension]

// ReplicaSpecID is the id of the one ReplicaSpec.
const ReplicaSpecID = resource.ID("meta")

// NewReplicaSpec returns the one ReplicaSpec with an empty spec.
func NewReplicaSpec() *ReplicaSpec {
	return typed.NewResource[ReplicaSpecSpec, ReplicaSpecExtension](
		resources.Metadata(ReplicaSpecType, ReplicaSpecID), ReplicaSpecSpec{})
}

// ReplicaSpecExtension defines the type for COSI.
type ReplicaSpecExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ReplicaSpecExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ReplicaSpecType, "replicaspec")
}

// Role is DRBD's role of a node.
type Role string

// DRBD's roles.
const (
	RolePrimary   Role = "Primary"
	RoleSecondary Role = "Secondary"
)

// ReplicaSpecSpec is what the replica of this node should be. It exists on metadata
// nodes only.
type ReplicaSpecSpec struct {
	// Device is the backing device.
	Device string `yaml:"device"`
	// Peer is the other replica; empty on a cluster of one.
	Peer        string `yaml:"peer,omitempty"`
	PeerAddress string `yaml:"peerAddress,omitempty"`
	SelfAddress string `yaml:"selfAddress"`
	// ConsentID is the quorum's recorded consent to create the replica; without
	// one nothing is ever written to a blank device.
	ConsentID string `yaml:"consentID,omitempty"`
	// Formatted says that the replica holds a file system: from then on a blank
	// device is a replacement and never the start of a new history.
	Formatted bool `yaml:"formatted"`
	// Role wanted, and the epoch in which it was granted. An empty role leaves
	// what is as it is: antlerd has just started and knows nothing yet.
	Role  Role   `yaml:"role"`
	Epoch uint64 `yaml:"epoch"`
	// First is true on the node that declares the two blank replicas equal
	// (the holder of the first epoch, until Formatted).
	First bool `yaml:"first"`
	// Restored is true beside First when metadata was served before and a person
	// has given all replicas up: no two of them are equal then.
	Restored bool `yaml:"restored,omitempty"`
	// PeerYields: the peer served last and has given up in order. It unmounts and
	// becomes secondary by itself, while this node is already granted the epoch.
	PeerYields bool `yaml:"peerYields,omitempty"`
	// PeerTrusted: this node holds the epoch, and for the quorum the peer is up to
	// date as well: it may be granted the next one.
	PeerTrusted bool `yaml:"peerTrusted,omitempty"`
	// Force breaks off frozen I/O with errors to get out of the primary role:
	// the lease is lost and nothing that is still unwritten may be kept.
	Force bool `yaml:"force"`
	// Discard gives up what only this replica has, by a person's word, once its
	// metadata is saved; PeerDiscards says that the peer's is.
	Discard      bool `yaml:"discard,omitempty"`
	PeerDiscards bool `yaml:"peerDiscards,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ReplicaSpecSpec) DeepCopy() ReplicaSpecSpec { return s }

// ReplicaStatusType is the type of ReplicaStatus.
const ReplicaStatusType = resource.Type("ReplicaStatuses.antler")

// ReplicaStatus is the resource around ReplicaStatusSpec.
type ReplicaStatus = typed.Resource[ReplicaStatusSpec, ReplicaStatusExtension]

// ReplicaStatusID is the id of the one ReplicaStatus.
const ReplicaStatusID = resource.ID("meta")

// NewReplicaStatus returns the one ReplicaStatus with an empty spec.
func NewReplicaStatus() *ReplicaStatus {
	return typed.NewResource[ReplicaStatusSpec, ReplicaStatusExtension](
		resources.Metadata(ReplicaStatusType, ReplicaStatusID), ReplicaStatusSpec{})
}

// ReplicaStatusExtension defines the type for COSI.
type ReplicaStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ReplicaStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ReplicaStatusType, "replica")
}

// Phase of a replica's life on this node.
type Phase string

// Phases of a replica.
const (
	PhaseUnknown Phase = ""
	// PhaseMissing: the device is not there (yet).
	PhaseMissing Phase = "missing"
	// PhaseRefused: the device is too small, or holds something that is not ours.
	PhaseRefused Phase = "refused"
	// PhaseBlank: the device is blank and waits for the quorum's consent.
	PhaseBlank Phase = "blank"
	// PhaseDown: ours, but not attached.
	PhaseDown Phase = "down"
	// PhaseUp: attached, and connected or trying to.
	PhaseUp Phase = "up"
)

// Comparison says what is not in order with the two replicas' contents.
type Comparison string

// What comparing has come to; "" is that they are the same, or that nothing is compared.
const (
	// ComparisonOutstanding: they are going to be compared, and weren't yet.
	ComparisonOutstanding Comparison = "outstanding"
	// ComparisonDifferent: they aren't the same, and nobody knows which is right.
	ComparisonDifferent Comparison = "different"
)

// ReplicaStatusSpec is what the replica of this node is.
type ReplicaStatusSpec struct {
	Phase Phase `yaml:"phase"`
	// Device is the DRBD device (/dev/drbd0), Backing the disk beneath it.
	Device  string `yaml:"device,omitempty"`
	Backing string `yaml:"backing,omitempty"`
	// Role, Disk, PeerRole, PeerDisk and Connection are DRBD's own words, as
	// `drbdsetup events2` prints them.
	Role       Role   `yaml:"role,omitempty"`
	Disk       string `yaml:"disk,omitempty"`
	Connection string `yaml:"connection,omitempty"`
	PeerRole   Role   `yaml:"peerRole,omitempty"`
	PeerDisk   string `yaml:"peerDisk,omitempty"`
	// Suspended says why I/O is frozen ("" when it is not): user, fencing, ...
	Suspended string `yaml:"suspended,omitempty"`
	// SyncPercent done while resynchronising, in 0..100; 100 otherwise.
	SyncPercent float64 `yaml:"syncPercent"`
	// Epoch for which Role was reached.
	Epoch uint64 `yaml:"epoch"`
	// FailedEpoch is the epoch in which promoting was given up; Error says why.
	FailedEpoch uint64 `yaml:"failedEpoch,omitempty"`
	// SplitBrain: this replica and its peer were written apart from each other, and
	// stay apart.
	SplitBrain bool `yaml:"splitBrain,omitempty"`
	// BrokenOff: this node has let go of its disk to get out of the primary role.
	// Whoever holds the epoch, it has to become secondary and to attach the disk
	// again before it is served from.
	BrokenOff bool `yaml:"brokenOff,omitempty"`
	// Comparing: DRBD reads all of both replicas to compare them. Compared is when that
	// last found them to be the same, on the connection that they have now; Sound says that
	// it did since this node was started.
	Sound     bool      `yaml:"sound"`
	Comparing bool      `yaml:"comparing,omitempty"`
	Compared  time.Time `yaml:"compared,omitempty"`
	// Comparison is what this side, if it serves, knows of both on the connection that
	// they have now.
	Comparison Comparison `yaml:"comparison,omitempty"`
	// IOErrors counts errors of the backing disk since start; the disk is
	// detached at the first.
	IOErrors int `yaml:"ioErrors,omitempty"`
	// Error says what is wrong and what to do next.
	Error string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ReplicaStatusSpec) DeepCopy() ReplicaStatusSpec { return s }

// ReadyFor reports whether the replica can be served from in the epoch. It may
// have an Error all the same: one about its peer.
func (s ReplicaStatusSpec) ReadyFor(epoch uint64) bool { return s.Usable() && s.Epoch == epoch }

// Usable reports whether the replica is primary, its disk good and not about to be
// let go of, and its I/O not suspended for another reason than to wait for the
// quorum's word.
func (s ReplicaStatusSpec) Usable() bool {
	frozen := s.Suspended != "" && !awaitsWord(s.Suspended)

	return s.Phase == PhaseUp && s.Role == RolePrimary && s.Disk == diskUpToDate && !s.BrokenOff && !frozen
}
