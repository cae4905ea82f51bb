package authority

import (
	"fmt"
	"time"
)

// Status is what this node knows now. until is when it will be another one
// though nothing happens: a lease or an answer has its end. It is zero if there
// is no such moment.
func (a *Authority) Status() (s AuthorityStatusSpec, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()

	now := a.config.Now()
	t := a.config.Timing
	r := a.record.Clone()
	s = AuthorityStatusSpec{
		Phase: r.Phase, ConsentID: r.ConsentID, ClusterID: r.ClusterID,
		Epoch: r.Epoch, Holder: r.Holder, LastHolder: r.LastHolder, Target: r.Target, Discard: r.Discard, Hold: r.HoldFor(),
		Replicas: r.Replicas, UpToDate: r.UpToDate, Formatted: r.Formatted(),
		MetaVersion: r.MetaVersion, MetadataID: r.MetadataID, GiveUps: r.GiveUps, Audit: r.Audit, Guards: r.Guards,

		Self:       a.config.Self,
		IsHolder:   a.holds(),
		LeaseValid: a.holds() && a.lease.Valid(now, r.Epoch),
		Leaving:    a.report.Leaving,
		Starting:   a.mayInherit() && now.Before(a.inherited),

		Leader:     a.leader,
		HaveQuorum: !a.answered.IsZero() && now.Before(a.answered.Add(t.LeaseTTL)),
		Voting:     a.quorum != nil,
		Reason:     a.reason,
	}

	ends := []time.Time{a.answered.Add(t.LeaseTTL), a.inherited}

	if s.IsHolder {
		// Without the monotonic reading: it is for people, and for YAML.
		s.LeaseUntil = a.lease.Until().Round(0)
		ends = append(ends, a.lease.Until())
	}

	a.explain(&s)

	for _, m := range a.config.Members {
		s.Members = append(s.Members, a.member(m, s.HaveQuorum))
	}

	return s, next(now, ends)
}

// mayInherit reports whether a lease that the last run got may be the one that
// counts: nothing is known yet, or this node is the holder and has not asked for a
// lease of its own before. The lock is held.
func (a *Authority) mayInherit() bool {
	return a.answered.IsZero() || a.holds() && a.lease.Until().IsZero()
}

// explain says what is wrong. The lock is held.
func (a *Authority) explain(s *AuthorityStatusSpec) {
	if a.voteError != nil {
		s.Error = a.voteError.Error()
	}

	if !s.HaveQuorum {
		s.Leader = ""
	}

	if !s.HaveQuorum && !s.Starting && s.Reason == "" {
		s.Reason = fmt.Sprintf("no quorum: %s hears from no leader: bring back enough of the voters, and check the network between them", a.config.Self)
	}
}

// member is a node as the leader told last. The lock is held.
func (a *Authority) member(m Member, haveQuorum bool) MemberStatus {
	alive := haveQuorum && a.alive[m.Name]

	return MemberStatus{
		Name: m.Name, Address: m.Address, Voter: m.Voter, Roles: m.Roles, LastSeen: lastSeen(a.nodes[m.Name], alive), Alive: alive,
	}
}

// lastSeen is told only of a node that isn't alive: of the others it would be old as
// soon as it is written, and everybody who watches would wake up for it.
func lastSeen(n NodeView, alive bool) time.Time {
	if alive {
		return time.Time{}
	}

	return n.LastSeen.Round(time.Second)
}

// Reports are what all nodes said last, by name.
func (a *Authority) Reports() map[string]NodeReportSpec {
	a.mu.Lock()
	defer a.mu.Unlock()

	haveQuorum := a.config.Now().Before(a.answered.Add(a.config.Timing.LeaseTTL))
	out := map[string]NodeReportSpec{}

	for name, n := range a.nodes {
		alive := haveQuorum && a.alive[name]
		out[name] = NodeReportSpec{Alive: alive, LastSeen: lastSeen(n, alive), Report: n.Report}
	}

	return out
}

// next is the earliest moment after now, or zero.
func next(now time.Time, moments []time.Time) time.Time {
	var first time.Time

	for _, m := range moments {
		if m.After(now) && (first.IsZero() || m.Before(first)) {
			first = m
		}
	}

	return first
}
