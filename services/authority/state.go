package authority

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Phase of the cluster's life.
type Phase string

const (
	// PhaseNone means no consent yet; every replica device must be left alone.
	PhaseNone Phase = ""
	// PhaseForming means that consent is recorded; replicas and file system may be made.
	PhaseForming Phase = "forming"
	// PhaseFormed means that file system and metadata exist; nothing is formatted again.
	PhaseFormed Phase = "formed"
)

// maxAudit is how many of a person's commands the record remembers.
const maxAudit = 32

// stateVersion of the snapshot's format.
const stateVersion = 1

// State is the record. The zero State is that of a cluster before its consent.
type State struct {
	Phase Phase `json:"phase"`
	// ConsentID is a random id of the one consent, ClusterID the cluster's.
	ConsentID string `json:"consentID,omitempty"`
	ClusterID string `json:"clusterID,omitempty"`
	// Replicas are the nodes that hold one. Who votes is not in the record: that
	// is Raft's own configuration.
	Replicas []string `json:"replicas,omitempty"`

	Epoch uint64 `json:"epoch"`
	// Holder of the epoch; empty before the first grant and after a release.
	Holder string `json:"holder,omitempty"`
	// LastHolder is who was granted Epoch.
	LastHolder string `json:"lastHolder,omitempty"`
	// Target is who should hold the next epoch (a switchover asked for).
	Target string `json:"target,omitempty"`
	// HoldMS is how much longer than usual the next grant has to wait, in ms;
	// HoldSeq is the number of the wish that set it.
	HoldMS  int64  `json:"holdMS,omitempty"`
	HoldSeq uint64 `json:"holdSeq,omitempty"`

	// UpToDate are the replicas that have every acknowledged write, sorted.
	UpToDate []string `json:"upToDate,omitempty"`
	// Observed is the number of the last observation of a replica in this epoch
	// that changed or confirmed its place in UpToDate.
	Observed map[string]uint64 `json:"observed,omitempty"`

	// Discard is the replica whose own writes a person has given up in this epoch.
	Discard string `json:"discard,omitempty"`

	// MetaVersion is the highest ever served, MetadataID that of the metadata.
	MetaVersion uint64 `json:"metaVersion,omitempty"`
	MetadataID  uint64 `json:"metadataID,omitempty"`

	// GiveUps is each node's last release.
	GiveUps map[string]GiveUp `json:"giveUps,omitempty"`
	// Guards are the nodes that reset themselves when they hear nothing of the
	// quorum; see guard.go.
	Guards map[string]Guard `json:"guards,omitempty"`
	// Audit are the last commands that a person signed, oldest first.
	Audit []Audit `json:"audit,omitempty"`
}

// GiveUp is why a node released an epoch.
type GiveUp struct {
	Epoch  uint64 `json:"epoch"`
	Failed bool   `json:"failed,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Streak is how many times in a row it failed without serving in between.
	Streak int `json:"streak,omitempty"`
}

// Audit is a command that a person signed.
type Audit struct {
	Kind  Kind   `json:"kind"`
	Node  string `json:"node,omitempty"`
	Epoch uint64 `json:"epoch"`
	Who   string `json:"who"`
	Why   string `json:"why"`
	At    int64  `json:"at"`
}

// Formatted reports whether file system and metadata exist.
func (s State) Formatted() bool { return s.Phase == PhaseFormed }

// IsReplica reports whether the node holds a replica.
func (s State) IsReplica(node string) bool { return slices.Contains(s.Replicas, node) }

// IsUpToDate reports whether the node has every acknowledged write.
func (s State) IsUpToDate(node string) bool { return slices.Contains(s.UpToDate, node) }

// HoldFor is how much longer than GrantWait the next grant has to wait.
func (s State) HoldFor() time.Duration { return time.Duration(s.HoldMS) * time.Millisecond }

// Clone returns a copy that shares nothing with s.
func (s State) Clone() State {
	s.Replicas = slices.Clone(s.Replicas)
	s.UpToDate = slices.Clone(s.UpToDate)
	s.Observed = maps.Clone(s.Observed)
	s.GiveUps = maps.Clone(s.GiveUps)
	s.Guards = maps.Clone(s.Guards)
	s.Audit = slices.Clone(s.Audit)

	return s
}

// snapshot is the record as it stands in a snapshot.
type snapshot struct {
	Version int    `json:"v"`
	Index   uint64 `json:"index"`
	State   State  `json:"state"`
}

// EncodeState returns the record as it stands in a snapshot; index is that of
// the last command in it.
func EncodeState(s State, index uint64) ([]byte, error) {
	raw, err := json.Marshal(snapshot{stateVersion, index, s})
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}

	return raw, nil
}

// DecodeState is the reverse of EncodeState.
func DecodeState(raw []byte) (State, uint64, error) {
	var s snapshot
	if err := json.Unmarshal(raw, &s); err != nil {
		return State{}, 0, fmt.Errorf("decode the record: %w", err)
	}

	if s.Version != stateVersion {
		return State{}, 0, fmt.Errorf("decode the record: format %d, this node knows %d: install the release that wrote it", s.Version, stateVersion)
	}

	return s.State, s.Index, nil
}
