package authority

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
)

// CommandVersion is the version of the commands' meaning. A command of another
// version is rejected by every node alike: a new meaning gets a new version, and
// is proposed only after every voter knows it.
const CommandVersion = 1

// maxCommandSize in bytes. Nothing legal comes near; it keeps garbage out of
// the log.
const maxCommandSize = 64 << 10

// Kind is what a command asks for.
type Kind string

// The kinds of commands and who says them: the leader (Consent, Grant,
// ClearTarget, Guard, Dead), the holder about itself and its peer (Formatted, Release, Hold,
// Outdate, MarkUpToDate, RecordVersion), or a person (SetTarget, ForceGrant,
// AcceptVersion, Restore, ReplaceStore, Discard).
const (
	KindConsent       Kind = "consent"
	KindFormatted     Kind = "formatted"
	KindGrant         Kind = "grant"
	KindRelease       Kind = "release"
	KindHold          Kind = "hold"
	KindOutdate       Kind = "outdate"
	KindMarkUpToDate  Kind = "mark-up-to-date"
	KindSetTarget     Kind = "set-target"
	KindClearTarget   Kind = "clear-target"
	KindRecordVersion Kind = "record-version"
	KindAcceptVersion Kind = "accept-version"
	KindForceGrant    Kind = "force-grant"
	KindRestore       Kind = "restore"
	KindReplaceStore  Kind = "replace-store"
	KindDiscard       Kind = "discard"
	KindGuard         Kind = "guard"
	KindDead          Kind = "dead"
)

// Command is one entry of the log. Which fields a kind uses is said where it is
// applied, in fsm.go.
type Command struct {
	Version int    `json:"v"`
	Kind    Kind   `json:"kind"`
	Epoch   uint64 `json:"epoch,omitempty"`
	// Term is the Raft term in which a grant was decided: in another one its
	// reasons don't hold.
	Term uint64 `json:"term,omitempty"`
	// Node is who speaks, or who is granted or wanted.
	Node string `json:"node,omitempty"`
	// Run is the run of antlerd on Node that says it, Seq numbers what it says;
	// see Sequence.
	Run uint64 `json:"run,omitempty"`
	Seq uint64 `json:"seq,omitempty"`

	ConsentID string   `json:"consentID,omitempty"`
	ClusterID string   `json:"clusterID,omitempty"`
	Replicas  []string `json:"replicas,omitempty"`

	Peer string `json:"peer,omitempty"`

	Failed bool   `json:"failed,omitempty"`
	Reason string `json:"reason,omitempty"`
	HoldMS int64  `json:"holdMS,omitempty"`

	// Boot of Node that a guard is for, and TTLMS how long it lasts, in ms.
	Boot  string `json:"boot,omitempty"`
	TTLMS int64  `json:"ttlMS,omitempty"`

	MetaVersion uint64 `json:"metaVersion,omitempty"`
	MetadataID  uint64 `json:"metadataID,omitempty"`

	// Who, Why and At (Unix seconds) sign a person's command.
	Who string `json:"who,omitempty"`
	Why string `json:"why,omitempty"`
	At  int64  `json:"at,omitempty"`
}

// Encode returns the command as it stands in the log.
func (c Command) Encode() ([]byte, error) {
	c.Version = CommandVersion

	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command %s: %w", c.Kind, err)
	}

	if len(text) > maxCommandSize {
		return nil, reject(ErrMalformed, "encode command %s: %d bytes, at most %d", c.Kind, len(text), maxCommandSize)
	}

	return fmt.Appendf(nil, "%08x %s", checksum(text), text), nil
}

// checksumSize is that of the hexadecimal checksum and the space after it.
const checksumSize = 9

// checksum lets a voter notice, before it takes part, that its disk has changed
// a command (store.go): bbolt doesn't.
func checksum(text []byte) uint32 {
	return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
}

// DecodeCommand is the reverse of Encode. Its error is a Rejection.
func DecodeCommand(raw []byte) (Command, error) {
	if len(raw) < checksumSize || len(raw) > maxCommandSize+checksumSize {
		return Command{}, reject(ErrMalformed, "decode command: %d bytes, want %d to %d", len(raw), checksumSize, maxCommandSize)
	}

	text := raw[checksumSize:]
	if string(raw[:checksumSize]) != fmt.Sprintf("%08x ", checksum(text)) {
		return Command{}, reject(ErrMalformed, "decode command: the checksum is wrong")
	}

	var c Command
	if err := json.Unmarshal(text, &c); err != nil {
		return Command{}, reject(ErrMalformed, "decode command: %v", err)
	}

	if c.Version != CommandVersion {
		return Command{}, reject(ErrUnknownCommand, "decode command %q: version %d, this node knows %d: upgrade it", c.Kind, c.Version, CommandVersion)
	}

	return c, nil
}
