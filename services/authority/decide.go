package authority

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Situation is all that the leader's decision depends on.
type Situation struct {
	Now     time.Time
	Self    string
	Timing  Timing
	Members []Member
	// AwaitRestore: see config.Metadata.
	AwaitRestore bool
	// Record as last applied.
	Record State
	// Nodes are what each node said last, and when.
	Nodes map[string]NodeView
	// GrantAt is when the last lease is over.
	GrantAt time.Time
	// EpochSince is when the leader first saw the record in this epoch, and
	// likewise for the release, the target, and each node's last give-up; LedSince
	// and TransferTried are when this leader's term began and when it last tried
	// to hand over the leadership.
	LedSince, TransferTried              time.Time
	EpochSince, ReleasedSince, TargetSet time.Time
	GaveUp                               map[string]time.Time
}

// NodeView is a node as the leader sees it.
type NodeView struct {
	LastSeen time.Time
	Report   Report
	// Clock is what its wall clock showed then.
	Clock time.Time
}

// ActionKind is what the leader does next.
type ActionKind string

// What the leader can do.
const (
	ActWait        ActionKind = "wait"
	ActConsent     ActionKind = "consent"
	ActGrant       ActionKind = "grant"
	ActTransfer    ActionKind = "transfer"
	ActClearTarget ActionKind = "clear-target"
	ActGuard       ActionKind = "guard"
	ActDead        ActionKind = "dead"
)

// Action is the leader's decision.
type Action struct {
	Kind ActionKind
	// Node to grant to, or to hand the leadership to.
	Node string
	// Replicas to consent to.
	Replicas []string
	// Guard to record.
	Guard Guard
	// Reason is what keeps the cluster from serving, and what to do about it.
	Reason string
}

// Decide says what the leader does next. It is a pure function; the leader calls
// it again at every event and at least once per RenewInterval.
func Decide(s Situation) Action {
	action := s.serve()
	if action.Kind != ActWait || s.Record.Phase == PhaseNone {
		return action
	}

	if guard, due := s.guards(); due {
		guard.Reason = action.Reason

		return guard
	}

	return action
}

// serve is the decision about who serves.
func (s Situation) serve() Action {
	switch {
	case s.Record.Phase == PhaseNone:
		return s.form()
	case s.Record.Holder != "" && s.Now.Before(s.GrantAt):
		return s.watch()
	case s.Now.Before(s.GrantAt):
		return Action{Kind: ActWait, Reason: fmt.Sprintf("epoch %d was released; waiting until its last lease is over", s.Record.Epoch)}
	default:
		return s.appoint()
	}
}

// form gives the consent once every metadata node has a blank device, and every
// voter is there to remember it.
func (s Situation) form() Action {
	var replicas, missing []string

	for _, m := range s.Members {
		if m.Voter && !s.alive(m.Name) {
			missing = append(missing, m.Name+" has not reported")

			continue
		}

		if !m.Replica {
			continue
		}

		if r := s.Nodes[m.Name].Report.Replica; r.Phase == replicaBlank {
			replicas = append(replicas, m.Name)
		} else {
			missing = append(missing, fmt.Sprintf("%s: its replica's device is %s, not blank: %s", m.Name, orUnknown(r.Phase), orUnknown(r.Error)))
		}
	}

	if len(missing) > 0 || len(replicas) == 0 {
		return Action{Kind: ActWait, Reason: "the cluster is not formed yet: " + strings.Join(missing, "; ")}
	}

	slices.Sort(replicas)

	return Action{Kind: ActConsent, Replicas: replicas}
}

// watch is for the usual case: somebody holds and has a lease.
func (s Situation) watch() Action {
	if s.Record.Target != "" && !s.Now.Before(s.TargetSet.Add(s.Timing.SwitchoverDeadline)) {
		return Action{Kind: ActClearTarget}
	}

	settled := latest(s.LedSince, s.EpochSince, s.TransferTried).Add(s.Timing.TransferDelay)
	if s.Now.Before(settled) {
		return Action{Kind: ActWait}
	}

	if to := s.successor(); to != "" {
		return Action{Kind: ActTransfer, Node: to}
	}

	return Action{Kind: ActWait}
}

// successor in the leadership, or "" if it is well placed. A witness leads where
// there is one: the holder must reach the leader while its link to the other
// replica is cut. The holder doesn't lead, so that a power cut of it costs no
// election. One that the holder doesn't hear would be deposed by it (stand.go).
func (s Situation) successor() string {
	var witness, other string

	unheard := s.Nodes[s.Record.Holder].Report.Unheard

	for _, m := range s.Members {
		switch {
		case !m.Voter || m.Name != s.Self && (!s.alive(m.Name) || m.Name == unheard):
		case !m.Replica && (witness == "" || m.Name == s.Self):
			witness = m.Name
		case m.Replica && m.Name != s.Self && other == "":
			other = m.Name
		}
	}

	switch {
	case witness == s.Self:
		return ""
	case witness != "":
		return witness
	case s.Record.Holder == s.Self:
		return other
	}

	return ""
}

// appoint is for when no lease can be valid any more.
func (s Situation) appoint() Action {
	var unfit []string

	// The first holder declares the blank replicas equal, so all must be there.
	if waiting := s.missingAtFirst(); waiting != "" {
		return Action{Kind: ActWait, Reason: "consent is given, but " + waiting}
	}

	if s.AwaitRestore && s.Record.Phase == PhaseForming && s.Record.MetaVersion == 0 {
		return Action{Kind: ActWait, Reason: awaitsRestore}
	}

	for _, n := range s.candidates() {
		why := s.unfit(n)
		if why == "" {
			return Action{Kind: ActGrant, Node: n}
		}

		// The target of a switchover may be late by a renewal or two. After that
		// anybody is better than nobody.
		if n == s.Record.Target && s.Now.Before(s.ReleasedSince.Add(s.Timing.AliveWithin)) {
			return Action{Kind: ActWait, Reason: fmt.Sprintf("waiting for %s, the target of the switchover: %s", n, why)}
		}

		unfit = append(unfit, n+" "+why)
	}

	if s.Record.Holder != "" {
		unfit = append(unfit, s.Record.Holder+" holds the epoch and let its lease run out")
	}

	for _, n := range s.Record.Replicas {
		if !s.Record.IsUpToDate(n) {
			unfit = append(unfit, n+" lacks acknowledged writes")
		}
	}

	return Action{Kind: ActWait, Reason: "nobody can serve: " + strings.Join(unfit, "; ") +
		": bring an up-to-date replica back, or decide to lose writes with \"antlerctl failover --force\"; " +
		"if no replica is left, see \"antlerctl metadata sources\""}
}

// awaitsRestore is for a cluster that is to go on from the metadata of one that is
// gone. Nothing has been served, so there is nothing that could be mixed up with it.
const awaitsRestore = "the replicas are made, and metadata.awaitRestore keeps this cluster from making a file system of its own: " +
	"put a backup on a node, below /var/lib/antler/backups, and see \"antlerctl metadata sources\" and \"antlerctl metadata restore\"; " +
	"to begin with an empty file system take the setting out of the configuration of all nodes"

// missingAtFirst says which replica the first epoch waits for, or "".
func (s Situation) missingAtFirst() string {
	if s.Record.Epoch > 0 {
		return ""
	}

	for _, n := range s.Record.Replicas {
		if why := s.unfit(n); why != "" {
			return n + " " + why
		}
	}

	return ""
}

// candidates are the up-to-date replicas, best first: the target of a
// switchover, who served last, the others by name, and who gave up the last
// epoch. A holder whose lease ran out is none: if it comes back it keeps its
// epoch by renewing it.
func (s Situation) candidates() []string {
	rank := func(n string) int {
		switch {
		case n == s.Record.Target:
			return 0
		case s.gaveUpLastEpoch(n):
			return 3
		case n == s.Record.LastHolder:
			return 1
		default:
			return 2
		}
	}

	nodes := slices.DeleteFunc(slices.Clone(s.Record.UpToDate), func(n string) bool { return n == s.Record.Holder })
	slices.SortStableFunc(nodes, func(a, b string) int { return rank(a) - rank(b) })

	return nodes
}

func (s Situation) gaveUpLastEpoch(n string) bool {
	g, ok := s.Record.GiveUps[n]

	return ok && g.Epoch == s.Record.Epoch
}

// unfit says why the node can't be granted an epoch now, or "".
func (s Situation) unfit(n string) string {
	report := s.Nodes[n].Report

	switch {
	case !s.alive(n):
		return "is not reachable"
	case report.Leaving:
		return "is going down"
	case report.Replica.Phase != replicaUp:
		return fmt.Sprintf("has no running replica (%s): %s", orUnknown(report.Replica.Phase), orUnknown(report.Replica.Error))
	case s.Record.Formatted() && !slices.Contains([]string{"UpToDate", "Consistent"}, report.Replica.Disk):
		return fmt.Sprintf("has a replica that is %s", orUnknown(report.Replica.Disk))
	}

	if until := s.backOff(n); s.Now.Before(until) {
		return fmt.Sprintf("failed (%s) and is tried again in %s", s.Record.GiveUps[n].Reason, until.Sub(s.Now).Round(time.Second))
	}

	return ""
}

// backOff is until when a node that failed is left alone.
func (s Situation) backOff(n string) time.Time {
	g := s.Record.GiveUps[n]
	if !g.Failed || g.Streak == 0 {
		return time.Time{}
	}

	wait := s.Timing.GiveUpBackOff
	for i := 1; i < g.Streak && wait < s.Timing.GiveUpBackOffMax; i++ {
		wait *= 2
	}

	return s.GaveUp[n].Add(min(wait, s.Timing.GiveUpBackOffMax))
}

func (s Situation) alive(n string) bool { return s.Nodes[n].alive(s.Now, s.Timing) }

func (n NodeView) alive(now time.Time, t Timing) bool {
	return !n.LastSeen.IsZero() && now.Sub(n.LastSeen) <= t.AliveWithin
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}

	return s
}

// The phases of a replica that matter here, in the words of
// replication.Phase.
const (
	replicaBlank = "blank"
	replicaUp    = "up"
)
