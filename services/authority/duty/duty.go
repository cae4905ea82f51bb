// Package duty does what the holder of an epoch owes the quorum: it records that
// the first file system exists, that the peer has caught up, how far the served
// metadata goes; and it gives the epoch up when it has stopped for a switchover
// or can't serve. It stands apart from package authority because those whose
// status it reads depend on that.
package duty

import (
	"cmp"
	"slices"
	"time"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/replication"
)

// action is one thing owed.
type action int

const (
	nothing action = iota
	recordFormatted
	markUpToDate
	recordVersion
	releaseSwitchover
	releaseFailed
)

// situation is all that the choice depends on.
type situation struct {
	record  authority.AuthorityStatusSpec
	replica replication.ReplicaStatusSpec
	master  metadata.MasterStatusSpec
	// address: the floating address is still held here.
	address bool
	peer    string
	// lossy: the cluster accepts that a power cut loses acknowledged metadata,
	// so that versions may go back.
	lossy bool
	// recorded is the version last recorded, at recordedAt.
	recorded   uint64
	recordedAt time.Time
	interval   time.Duration
	now        time.Time
}

// next chooses what to do now.
func next(s situation) action {
	if s.record.Starting || !s.record.IsHolder {
		return nothing
	}

	switch {
	case s.record.Leaving:
		if s.stopped() {
			return releaseSwitchover
		}

		return nothing
	case s.record.HandsOver():
		if s.dead() && !s.address {
			return releaseSwitchover
		}

		return nothing
	case s.record.LeaseValid && s.failed() != "":
		if s.dead() {
			return releaseFailed
		}

		return nothing
	case !s.record.LeaseValid:
		return nothing
	case s.master.Formatted && s.master.Epoch == s.record.Epoch && !s.record.Formatted:
		return recordFormatted
	case s.peerIsBack():
		return markUpToDate
	case s.versionIsDue():
		return recordVersion
	}

	return nothing
}

// occasion of the handover.
func (s situation) occasion() string {
	if s.record.Leaving {
		return "it goes down"
	}

	return "switchover to " + s.record.Target
}

// stopped: nothing of the serving role is left here.
func (s situation) stopped() bool {
	return !s.master.Mounted && s.replica.Phase != replication.PhaseUnknown && s.replica.Role != replication.RolePrimary && !s.address
}

// dead: no master runs here. The quorum may grant to another from then on: DRBD
// has no second primary, and the next one waits for this one to unmount before it
// parts from it. The phase of another epoch, or of an antlerd that has just started
// and not yet looked, says nothing: then the replica must be secondary, which it
// can't be under a master.
func (s situation) dead() bool {
	if s.master.Epoch != s.record.Epoch {
		return s.stopped()
	}

	switch s.master.Phase {
	case metadata.PhaseUnmounting, metadata.PhaseStopped, metadata.PhaseFailed:
		return true
	}

	return false
}

// failed says why this node can't serve in this epoch; "" if it can.
func (s situation) failed() string {
	switch {
	case s.master.Phase == metadata.PhaseFailed && s.master.Epoch == s.record.Epoch:
		return s.master.Error
	case s.replica.FailedEpoch == s.record.Epoch:
		return cmp.Or(s.replica.Error, "the replica does not become primary")
	case s.replica.IOErrors > 0:
		// DRBD would go on over the network. The peer does it better, if it has
		// everything; if not, nobody serves before a person has decided.
		return "the replica's disk failed: " + s.replica.Error
	}

	return ""
}

func (s situation) peerIsBack() bool {
	return s.peer != "" && !slices.Contains(s.record.UpToDate, s.peer) && s.replica.Connection == "Connected" &&
		s.replica.Disk == "UpToDate" && s.replica.PeerDisk == "UpToDate"
}

func (s situation) versionIsDue() bool {
	return !s.lossy && s.master.Answering && s.master.Epoch == s.record.Epoch && s.master.MetadataID != 0 &&
		s.master.MetaVersion > s.recorded && s.now.Sub(s.recordedAt) >= s.interval
}
