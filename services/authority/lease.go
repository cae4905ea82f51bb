package authority

import "time"

// The safety argument of the lease. Times are read from monotonic clocks, each
// only compared with its own node's; what is assumed of them is that they run at
// the same speed to within ClockMargin, and not that they agree.
//
// A lease of (node, epoch) comes from an answered renewal:
//
//	holder            leader (of one term)
//	sends at s  --->  receives
//	                  has a quorum confirm that it still leads (confirm.go)
//	                  checks that the record says (node, epoch), and answers at a
//	valid until  <--
//	s + LeaseTTL
//
// so s is before a. Let another node be granted the next epoch by the leader of
// a term g; it gets its first lease after that grant was decided.
//
//   - g is the same term: the leader decided at least GrantWait after a, and
//     answers no renewal of the old epoch from the decision on (closed). The
//     lease was over FenceDeadline before.
//   - g is a later term: each node of the quorum that confirmed the old leader did
//     so after s, the holder by the term in its renewal. One of them is in the
//     quorum that elected the new one, and voted later. So the new leader became leader after s, and it waits GrantWait from
//     then. That is why a new leader waits although it has heard of no renewal
//     itself: the last one may have answered one just before.
//   - g is an earlier term: a leader answers renewals only after it has applied
//     everything before its own term (Raft barrier). By then that grant is
//     either in its record, and it would not have answered; or it never will be
//     committed.
//
// A release is faster: the holder first forgets its lease for good (Abandon),
// then says so, and the leader need not wait. It goes by that word only if it
// comes from the run of antlerd that renewed last: one that was delayed until
// after a restart says nothing about the leases of the new run. Runs are
// numbered on disk, so that a delayed renewal can't pass for a new run's.

// LeaderLease is what the leader of one term knows about the holder's lease.
// One is made on each election, and it is never carried over. It isn't safe
// for concurrent use.
type LeaderLease struct {
	timing Timing
	// from is when the last renewal of epoch was answered, or what counts as
	// such: the election, or the grant.
	from  time.Time
	epoch uint64
	run   uint64
	// grants of the next epoch that are proposed, and may yet apply: as long as
	// there is one, no renewal of epoch is answered.
	grants int
	// closed: the holder gives the epoch up; no renewal is answered any more.
	closed bool
	// released: the run of antlerd that renewed last has given its lease up.
	released bool
}

// NewLeaderLease starts the count at the moment of the election, or later.
func NewLeaderLease(timing Timing, electedAt time.Time, epoch uint64) *LeaderLease {
	return &LeaderLease{timing: timing, from: electedAt, epoch: epoch}
}

// Renew records a renewal that is about to be answered, and reports whether it
// may be. The caller has verified its leadership since the renewal came in, and
// looked up that epoch is the current one and held by the sender.
func (l *LeaderLease) Renew(now time.Time, epoch, run uint64) bool {
	l.Begin(now, epoch)

	if epoch != l.epoch || run < l.run || l.closed || l.grants > 0 {
		return false
	}

	l.from, l.run = now, run

	return true
}

// Begin notices a new epoch. Its holder has as long to renew for the first time
// as for any other.
func (l *LeaderLease) Begin(now time.Time, epoch uint64) {
	if epoch > l.epoch {
		*l = LeaderLease{timing: l.timing, from: now, epoch: epoch}
	}
}

// Release notices that the holder gives up, before that is proposed to the
// quorum. It reports whether it may be: a later run of antlerd may have a lease.
func (l *LeaderLease) Release(epoch, run uint64) bool {
	if epoch != l.epoch || run < l.run {
		return false
	}

	l.closed = true
	l.released = run == l.run

	return true
}

// MayGrant reports whether no lease can be valid any more under the record s,
// the last applied.
func (l *LeaderLease) MayGrant(now time.Time, s State) bool {
	return l.GrantAt(s).Compare(now) <= 0
}

// GrantAt is the first moment at which MayGrant.
func (l *LeaderLease) GrantAt(s State) time.Time {
	neverGranted := s.Epoch == 0
	released := s.Holder == "" && s.Epoch == l.epoch && l.released

	if neverGranted || released {
		return time.Time{}
	}

	return l.from.Add(l.timing.GrantWait + s.HoldFor())
}

// Close ends the renewals of an epoch because its successor is about to be
// proposed. Each Close is undone by Reopen if that proposal was rejected, and
// only then: as long as an outcome is unknown the epoch stays closed.
func (l *LeaderLease) Close(epoch uint64) {
	if epoch == l.epoch {
		l.grants++
	}
}

// Reopen undoes one Close of the epoch.
func (l *LeaderLease) Reopen(epoch uint64) {
	if epoch == l.epoch && l.grants > 0 {
		l.grants--
	}
}

// LastRenewal is the last moment from which the wait counts.
func (l *LeaderLease) LastRenewal() time.Time { return l.from }

// Sequence numbers what one run of antlerd says, in the order in which it says
// it and after everything that an earlier run said.
// It isn't safe for concurrent use.
type Sequence struct {
	run  uint64
	last uint32
}

// NewSequence starts the numbers of a run; each run's is greater than the last.
func NewSequence(run uint64) *Sequence { return &Sequence{run: run} }

// Next returns the next number.
func (s *Sequence) Next() uint64 {
	s.last++

	return s.run<<32 | uint64(s.last)
}

// HolderLease is what a node knows about its own lease. The zero HolderLease
// is not valid. It isn't safe for concurrent use.
type HolderLease struct {
	epoch uint64
	until time.Time
	// abandoned is the last epoch that this node has given up.
	abandoned uint64
}

// Answered extends the lease: the leader answered the renewal of epoch that was
// sent at sentAt. Answers may come late, twice and in any order.
func (h *HolderLease) Answered(timing Timing, epoch uint64, sentAt time.Time) {
	if epoch < h.epoch || epoch <= h.abandoned {
		return
	}

	if until := sentAt.Add(timing.LeaseTTL); epoch > h.epoch || until.After(h.until) {
		h.epoch, h.until = epoch, until
	}
}

// Learn ends the lease if the record is in a later epoch.
func (h *HolderLease) Learn(epoch uint64) {
	if epoch > h.epoch {
		h.until = time.Time{}
	}
}

// Abandon ends the lease of the epoch, and no answer brings it back.
func (h *HolderLease) Abandon(epoch uint64) {
	h.abandoned = max(h.abandoned, epoch)
}

// Abandoned reports whether this run of antlerd has given the epoch up.
func (h *HolderLease) Abandoned(epoch uint64) bool { return epoch <= h.abandoned }

// Valid reports whether this node may serve in epoch now.
func (h *HolderLease) Valid(now time.Time, epoch uint64) bool {
	return epoch == h.epoch && epoch > h.abandoned && now.Before(h.until)
}

// Until is when the lease ends or ended; zero if there is none.
func (h *HolderLease) Until() time.Time {
	if h.epoch <= h.abandoned {
		return time.Time{}
	}

	return h.until
}
