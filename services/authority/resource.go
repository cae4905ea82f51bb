package authority

import (
	"maps"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// AuthorityStatusType is the type of AuthorityStatus.
const AuthorityStatusType = resource.Type("AuthorityStatuses.antler")

// AuthorityStatusID is the id of the one AuthorityStatus.
const AuthorityStatusID = resource.ID("authority")

// AuthorityStatus is the resource around AuthorityStatusSpec.
type AuthorityStatus = typed.Resource[AuthorityStatusSpec, AuthorityStatusExtension]

// NewAuthorityStatus returns the one AuthorityStatus with an empty spec.
func NewAuthorityStatus() *AuthorityStatus {
	return typed.NewResource[AuthorityStatusSpec, AuthorityStatusExtension](
		resources.Metadata(AuthorityStatusType, AuthorityStatusID), AuthorityStatusSpec{})
}

// AuthorityStatusExtension defines the type for COSI.
type AuthorityStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (AuthorityStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(AuthorityStatusType, "authority")
}

// AuthorityStatusSpec is the record as this node knows it, and this node's part.
type AuthorityStatusSpec struct {
	Phase     Phase  `yaml:"phase"`
	ConsentID string `yaml:"consentID,omitempty"`
	ClusterID string `yaml:"clusterID,omitempty"`

	Epoch      uint64 `yaml:"epoch"`
	Holder     string `yaml:"holder,omitempty"`
	LastHolder string `yaml:"lastHolder,omitempty"`
	Target     string `yaml:"target,omitempty"`
	// Discard is the replica whose own writes a person has given up in this epoch:
	// it is to be filled from the holder's.
	Discard string `yaml:"discard,omitempty"`
	// Hold is how much longer than usual the next grant waits, for a planned
	// restart of antlerd on the holder.
	Hold time.Duration `yaml:"hold,omitempty"`

	// Replicas hold the metadata; those in UpToDate have every acknowledged
	// write.
	Replicas []string `yaml:"replicas,omitempty"`
	UpToDate []string `yaml:"upToDate,omitempty"`
	// Formatted: file system and first metadata exist.
	Formatted bool `yaml:"formatted"`
	// MetaVersion is the highest ever served; MetadataID is 0 before the first.
	MetaVersion uint64 `yaml:"metaVersion,omitempty"`
	MetadataID  uint64 `yaml:"metadataID,omitempty"`
	// GiveUps is each node's last release.
	GiveUps map[string]GiveUp `yaml:"giveUps,omitempty"`
	Audit   []Audit           `yaml:"audit,omitempty"`
	// Guards are the nodes that reset themselves when they hear nothing of the
	// quorum, and which of them surely have.
	Guards map[string]Guard `yaml:"guards,omitempty"`

	Self string `yaml:"self"`
	// IsHolder: this node holds Epoch and has not given it up.
	IsHolder bool `yaml:"isHolder"`
	// LeaseValid: this node may serve in Epoch, until LeaseUntil (of this
	// node's clock; it moves on with each renewal and is written as it was when
	// anything else changed).
	LeaseValid bool      `yaml:"leaseValid"`
	LeaseUntil time.Time `yaml:"leaseUntil,omitempty"`
	// Starting: antlerd was just started and has had no lease of its own yet, and
	// the one that its last run got may be valid: what serves on this node is left
	// as it is, and nothing is started. That ends with that lease, or as soon as
	// somebody else is seen to be the holder.
	Starting bool `yaml:"starting"`
	// Leaving: this machine goes down.
	Leaving bool `yaml:"leaving,omitempty"`

	// Leader of the quorum, and whether this node hears from it.
	Leader     string `yaml:"leader,omitempty"`
	HaveQuorum bool   `yaml:"haveQuorum"`
	// Voting: this node takes part in Raft. A voter that doesn't says in Error
	// why.
	Voting bool `yaml:"voting"`

	Members []MemberStatus `yaml:"members,omitempty"`
	// Reason is what the cluster waits for, and what to do about it; empty while
	// somebody holds.
	Reason string `yaml:"reason,omitempty"`
	// Error is what is wrong with this node's own part, and what to do about it.
	Error string `yaml:"error,omitempty"`
}

// MemberStatus is a node as the leader sees it.
type MemberStatus struct {
	Name    string   `yaml:"name"`
	Address string   `yaml:"address"`
	Voter   bool     `yaml:"voter"`
	Roles   []string `yaml:"roles,omitempty"`
	// LastSeen is when the leader last heard from a node that is not Alive, by this
	// node's clock to the second; it is not told of one that is.
	LastSeen time.Time `yaml:"lastSeen,omitempty"`
	Alive    bool      `yaml:"alive"`
}

// MayServe reports whether a master may serve on this node now: with a lease
// that is known to be valid, or when nothing is known yet.
func (s AuthorityStatusSpec) MayServe() bool { return s.LeaseValid || s.Starting }

// HandsOver reports whether this node gives up in order what it serves: for a
// switchover, or because it goes down.
func (s AuthorityStatusSpec) HandsOver() bool {
	return s.Leaving || s.Target != "" && s.Target != s.Self
}

// DeepCopy implements typed.DeepCopyable.
func (s AuthorityStatusSpec) DeepCopy() AuthorityStatusSpec {
	record := State{Replicas: s.Replicas, UpToDate: s.UpToDate, GiveUps: s.GiveUps, Audit: s.Audit, Guards: s.Guards}.Clone()
	s.Replicas, s.UpToDate, s.GiveUps, s.Audit = record.Replicas, record.UpToDate, record.GiveUps, record.Audit
	s.Guards = record.Guards
	s.Members = slices.Clone(s.Members)

	for i := range s.Members {
		s.Members[i].Roles = slices.Clone(s.Members[i].Roles)
	}

	return s
}

// NodeReportType is the type of NodeReport.
const NodeReportType = resource.Type("NodeReports.antler")

// NodeReport is the resource around NodeReportSpec; its id is the node's name.
// The leader collects them, so every node has one of every node.
type NodeReport = typed.Resource[NodeReportSpec, NodeReportExtension]

// NewNodeReport returns the report of a node with an empty spec.
func NewNodeReport(node string) *NodeReport {
	return typed.NewResource[NodeReportSpec, NodeReportExtension](
		resources.Metadata(NodeReportType, node), NodeReportSpec{})
}

// NodeReportExtension defines the type for COSI.
type NodeReportExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (NodeReportExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(NodeReportType, "report", "reports")
}

// NodeReportSpec is what a node says of itself with each renewal.
type NodeReportSpec struct {
	// Alive as the leader last said; LastSeen as in MemberStatus.
	Alive    bool      `yaml:"alive"`
	LastSeen time.Time `yaml:"lastSeen,omitempty"`
	Report   Report    `yaml:"report"`
}

// Report is what a node says of itself. The words are those of ReplicaStatus
// and MasterStatus on that node.
type Report struct {
	// Version of antlerd.
	Version string        `yaml:"version,omitempty"`
	Replica ReplicaReport `yaml:"replica"`
	Master  MasterReport  `yaml:"master"`
	// Services are the supervised processes and their states.
	Services map[string]string `yaml:"services,omitempty"`
	// Addresses are the floating addresses that the node holds.
	Addresses []string `yaml:"addresses,omitempty"`
	// AddressError is what is wrong with them here, or would be if the node held them.
	AddressError string `yaml:"addressError,omitempty"`
	// Leaving: antlerd or the node is going down; don't grant it anything.
	Leaving bool `yaml:"leaving,omitempty"`
	// Guard that the node offers. The authority fills it in itself.
	Guard Guard `yaml:"guard,omitempty"`
	// Unheard is the leader in whose place the node stood for election, since it heard
	// nothing of it. The authority fills it in itself.
	Unheard string `yaml:"unheard,omitempty"`
	// ClockAhead is by how much the node's wall clock is ahead of that of the node that
	// serves, in whole seconds. The authority fills it in itself.
	ClockAhead time.Duration `yaml:"clockAhead,omitempty"`
}

// ReplicaReport is the state of a node's replica. See replication.ReplicaStatus.
type ReplicaReport struct {
	Phase       string  `yaml:"phase,omitempty"`
	Role        string  `yaml:"role,omitempty"`
	Disk        string  `yaml:"disk,omitempty"`
	Connection  string  `yaml:"connection,omitempty"`
	PeerDisk    string  `yaml:"peerDisk,omitempty"`
	Suspended   string  `yaml:"suspended,omitempty"`
	SyncPercent float64 `yaml:"syncPercent,omitempty"`
	SplitBrain  bool    `yaml:"splitBrain,omitempty"`
	Comparison  string  `yaml:"comparison,omitempty"`
	Error       string  `yaml:"error,omitempty"`
}

// MasterReport is the state of a node's mfsmaster. See metadata.MasterStatus.
type MasterReport struct {
	Phase        string `yaml:"phase,omitempty"`
	Epoch        uint64 `yaml:"epoch,omitempty"`
	Answering    bool   `yaml:"answering,omitempty"`
	MetaVersion  uint64 `yaml:"metaVersion,omitempty"`
	MetadataID   uint64 `yaml:"metadataID,omitempty"`
	Version      string `yaml:"version,omitempty"`
	ReplicaFree  uint64 `yaml:"replicaFree,omitempty"`
	TotalSpace   uint64 `yaml:"totalSpace,omitempty"`
	FreeSpace    uint64 `yaml:"freeSpace,omitempty"`
	Chunks       uint64 `yaml:"chunks,omitempty"`
	Chunkservers int    `yaml:"chunkservers,omitempty"`
	Restarts     int    `yaml:"restarts,omitempty"`
	Error        string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s NodeReportSpec) DeepCopy() NodeReportSpec {
	s.Report.Services = maps.Clone(s.Report.Services)
	s.Report.Addresses = slices.Clone(s.Report.Addresses)

	return s
}
