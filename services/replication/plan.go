package replication

import (
	"time"

	"go.uber.org/zap/zapcore"
)

// step is one thing to do with the replica.
type step string

const (
	stepNone    step = ""
	stepInspect step = "inspect the device"
	stepCreate  step = "create the replica"
	stepUp      step = "bring the replica up"
	stepBreak   step = "break off frozen I/O"
	stepDemote  step = "demote"
	stepRecycle step = "attach the disk again"
	stepEqual   step = "declare the new replicas equal"
	stepFirst   step = "make the only replica the first version"
	stepPromote step = "promote"
	stepFence   step = "have the peer outdated"
	stepConnect step = "connect to the peer again"
	stepDiscard step = "save and discard what only this replica has"
	stepMeasure step = "measure the resync"
	stepCompare step = "compare the replicas"
	stepJudge   step = "see what the comparison of the replicas has found"
)

// situation is all that the choice of the next step depends on.
type situation struct {
	// spec is nil while nothing is wanted of this node.
	spec   *ReplicaSpecSpec
	kernel kernel
	found  finding
	// stale: the configuration of the running resource is not the wanted one.
	stale bool
	// broken: this node has let go of its disk to get out of the primary role.
	broken bool
	// lost: an error took the disk away.
	lost bool
	// failedEpoch is the epoch in which promoting was given up.
	failedEpoch uint64
	// fencing: DRBD's handler is being answered.
	fencing bool
	// compare: it is time to compare the replicas; judge: they were, and what was found
	// isn't known yet.
	compare, judge bool
}

// next chooses the step to take now. The order matters: first out of what is
// dangerous, then into what is wanted, then what can wait.
func next(s situation) step {
	switch {
	case s.spec == nil || !s.kernel.known:
		return stepNone
	case !s.kernel.exists:
		return s.begin()
	case s.spec.Force && s.kernel.role == RolePrimary && s.kernel.suspended != "":
		return stepBreak
	case s.spec.Role == RoleSecondary && s.kernel.role == RolePrimary:
		return stepDemote
	case s.broken && s.kernel.role == RoleSecondary:
		return stepRecycle
	// The disk is not attached, and it was not the disk's fault.
	case s.kernel.disk == diskDiskless && !s.broken && !s.lost:
		return stepUp
	// drbdadm would attach a disk that is not.
	case s.stale && (s.kernel.role != RolePrimary || s.kernel.suspended == "") && !s.broken && !s.lost:
		return stepUp
	// It is out of the primary role by force (DRBD 9), and not to come back to it.
	case s.spec.Force && s.kernel.role != RolePrimary:
		return s.tend()
	case s.spec.Role == RolePrimary && s.kernel.role != RolePrimary:
		return s.ascend()
	case s.spec.Role == RolePrimary && awaitsWord(s.kernel.suspended) && !s.fencing && s.goesOnAlone():
		return stepFence
	case unmirrored(s.spec, s.kernel):
		return stepFence
	}

	return s.tend()
}

// goesOnAlone: the peer is lost, and this side has what to go on with. Without its disk
// the peer is the one that does.
func (s situation) goesOnAlone() bool {
	return s.kernel.connection != connected && s.kernel.disk == diskUpToDate && !s.broken
}

// unmirrored: the peer is connected and doesn't write what is written here, and
// the quorum, which may grant the next epoch to it, doesn't know that yet. DRBD
// calls its handler only for a peer that is lost.
func unmirrored(spec *ReplicaSpecSpec, k kernel) bool {
	if spec.Role != RolePrimary || !spec.PeerTrusted || k.role != RolePrimary || k.connection != connected || k.disk != diskUpToDate {
		return false
	}

	switch k.peerDisk {
	case diskDiskless, diskFailed, diskInconsistent, diskOutdated, diskConsistent:
		return true
	}

	return false
}

// begin is for a resource that the kernel doesn't have.
func (s situation) begin() step {
	switch {
	case s.found.phase == PhaseUnknown:
		return stepInspect
	case s.found.phase == PhaseDown:
		return stepUp
	case s.found.phase == PhaseBlank && s.spec.ConsentID != "":
		return stepCreate
	}

	return stepNone
}

// ascend leads to the primary role.
func (s situation) ascend() step {
	k := s.kernel
	fresh := s.spec.First && !s.spec.Formatted && k.disk == diskInconsistent

	switch {
	// DRBD would take what the peer has, and the quorum knows better whether that is all.
	case !attached(k.disk):
		return s.tend()
	case fresh && s.spec.Peer == "":
		return stepFirst
	// The peer, if it is blank as well, gets all blocks. Before one that has data
	// it is left to DRBD, which connects them not.
	case fresh && s.spec.Restored && k.peerDisk != diskUpToDate && s.failedEpoch != s.spec.Epoch:
		return stepFirst
	// Both were zeroed when they were created: that is why they are equal.
	case fresh && k.connection == connected && k.peerDisk == diskInconsistent:
		return stepEqual
	// The peer is still being created, or has not yet heard that it is equal.
	case fresh, s.spec.First && !s.spec.Formatted && !s.spec.Restored && s.spec.Peer != "" && !s.joined():
		return s.tend()
	case s.failedEpoch == s.spec.Epoch:
		return s.tend()
	}

	return stepPromote
}

// joined reports whether the peer gets what is written here: now, or at the end
// of the resync.
func (s situation) joined() bool {
	return s.kernel.connection == connected && (s.kernel.peerDisk == diskUpToDate || s.kernel.syncing())
}

// tend looks after what is neither wanted nor dangerous.
func (s situation) tend() step {
	apart := s.kernel.splitBrain && !s.spec.PeerDiscards

	switch {
	case s.spec.Discard && s.kernel.splitBrain && s.kernel.alone() && s.kernel.role == RoleSecondary && !s.broken:
		return stepDiscard
	// Without its disk it must not: see recycle. And a peer that was parted from must not be
	// back before the quorum's word is in: DRBD would take it for the same, and copy nothing.
	case s.spec.Peer != "" && s.kernel.alone() && !apart && !s.broken && !s.fencing:
		return stepConnect
	case s.kernel.syncing():
		return stepMeasure
	case s.judge && s.spec.Role != "" && s.kernel.replication == established:
		return stepJudge
	case s.compare && s.comparable():
		return stepCompare
	}

	return stepNone
}

// pause is how long a step waits before it is tried again. Steps that others
// wait for are tried often.
func (s step) pause(failures int) time.Duration {
	switch s {
	case stepRecycle:
		return min(5*time.Second, 100*time.Millisecond<<min(failures, 6))
	case stepDemote, stepBreak:
		// "secondary" is refused for a moment after anybody has had a look at the
		// device, and for as long as it is mounted.
		return 100 * time.Millisecond
	case stepFence, stepEqual, stepFirst, stepPromote:
		return 300 * time.Millisecond
	case stepMeasure, stepInspect:
		return 2 * time.Second
	}

	return min(10*time.Second, 500*time.Millisecond<<min(failures, 5))
}

// level keeps what is done every few seconds out of the log.
func (s step) level() zapcore.Level {
	if s == stepInspect || s == stepMeasure {
		return zapcore.DebugLevel
	}

	return zapcore.InfoLevel
}

// stillWanted reports whether a step that is under way is worth finishing.
// Promoting ends at once when the lease is lost.
func (s step) stillWanted(begun, now *ReplicaSpecSpec) bool {
	switch s {
	case stepPromote, stepFence, stepEqual, stepFirst:
		return now != nil && now.Role == RolePrimary && now.Epoch == begun.Epoch
	case stepJudge:
		return now != nil && now.Role == begun.Role && now.Epoch == begun.Epoch
	case stepDiscard:
		return now != nil && now.Discard && now.Epoch == begun.Epoch
	}

	return true
}
