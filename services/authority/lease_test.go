package authority_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"antler/services/authority"
)

// world models everything around the leases: three nodes whose clocks don't
// agree, messages that are late, lost or out of order, leaders that are deposed
// at any moment, runs of antlerd that end at any moment, and a log that commits
// a deposed leader's proposal before its successor's term begins, or never.
type world struct {
	t      *rapid.T
	timing authority.Timing
	now    time.Time
	nodes  []*modelNode
	terms  []*modelLeader
	record authority.State

	renewals  []renewal
	releases  []renewal
	answers   []answer
	proposals []proposal
}

type modelNode struct {
	name  string
	clock time.Duration // ahead of the world's
	run   uint64
	seq   *authority.Sequence
	lease authority.HolderLease
	// serves until this moment, whatever happens: the end of the lease, plus the
	// time to stop, or of the hold of a restart.
	serves time.Time
}

type modelLeader struct {
	clock time.Duration
	lease *authority.LeaderLease
	// last is the record that it saw before it was deposed.
	deposed bool
	last    authority.State
}

type renewal struct {
	term, node int
	// terms there were when it was sent.
	terms      int
	run, epoch uint64
	seq        uint64
	sentAt     time.Time // sender's clock
}

type answer renewal

type proposal struct {
	term    int
	command authority.Command
	node    int
	run     uint64
}

func TestLeasesOfTwoHoldersNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		// An action that isn't possible does nothing. Some stand here more than
		// once, so that what is rare in a random history (a message that was
		// delayed across a restart) is not too rare to be found.
		actions := []func(*rapid.T){
			w.advance, w.advance, w.renewRoundTrip, w.renewRoundTrip, w.renewRoundTrip,
			w.renew, w.renewalArrives, w.renewalArrives, w.answerArrives, w.lose, w.elect,
			w.grant, w.grant, w.release, w.releaseArrives, w.hold, w.commit, w.commit, w.commit, w.restart,
		}

		for range 150 {
			rapid.SampledFrom(actions).Draw(t, "action")(t)
			w.check(t)
		}
	})
}

// renewRoundTrip is what happens nearly always: a renewal is answered at once.
func (w *world) renewRoundTrip(t *rapid.T) {
	i, n := w.holder()
	if n == nil {
		return
	}

	r := renewal{term: len(w.terms) - 1, terms: len(w.terms), node: i, run: n.run, epoch: w.record.Epoch, sentAt: w.local(n.clock)}
	if w.answerTo(r) {
		w.accept(answer(r))
	}
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, timing: authority.DefaultTiming(), now: time.Unix(1000, 0)}

	for i := range 3 {
		offset := time.Duration(rapid.IntRange(0, 1_000_000).Draw(t, "clock")) * time.Millisecond
		w.nodes = append(w.nodes, &modelNode{name: fmt.Sprintf("n%d", i+1), clock: offset, run: 1, seq: authority.NewSequence(1)})
	}

	var err error

	w.record, err = w.record.Apply(authority.Command{Kind: authority.KindConsent, ConsentID: "c", Replicas: []string{"n1", "n2", "n3"}})
	require.NoError(t, err)
	w.elect(t)

	return w
}

func (w *world) node(t *rapid.T) (int, *modelNode) {
	i := rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")

	return i, w.nodes[i]
}

func (w *world) local(offset time.Duration) time.Time { return w.now.Add(offset) }

func (w *world) holder() (int, *modelNode) {
	for i, n := range w.nodes {
		if n.name == w.record.Holder {
			return i, n
		}
	}

	return 0, nil
}

func (w *world) advance(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
}

// renew is sent by the holder, to any leader of any term.
func (w *world) renew(t *rapid.T) {
	i, n := w.holder()
	if n == nil {
		return
	}

	term := max(0, len(w.terms)-1-rapid.IntRange(0, 2).Draw(t, "terms ago"))
	w.renewals = append(w.renewals, renewal{term: term, terms: len(w.terms), node: i, run: n.run, epoch: w.record.Epoch, sentAt: w.local(n.clock)})
}

func (w *world) renewalArrives(t *rapid.T) {
	if r, ok := take(t, &w.renewals); ok && w.answerTo(r) {
		w.answers = append(w.answers, answer(r))
	}
}

// answerTo does what the leader does. Enough nodes are in its term at some moment after
// the renewal was sent, so nobody was elected before: but somebody may have been since,
// of which the leader hasn't heard, nor of what became of the record.
func (w *world) answerTo(r renewal) bool {
	leader := w.terms[r.term]
	confirmed := r.term == r.terms-1

	record := w.record
	if leader.deposed {
		record = leader.last
	}

	holds := record.Epoch == r.epoch && record.Holder == w.nodes[r.node].name

	return confirmed && holds && leader.lease.Renew(w.local(leader.clock), r.epoch, r.run)
}

func (w *world) answerArrives(t *rapid.T) {
	if a, ok := take(t, &w.answers); ok {
		w.accept(a)
	}
}

// accept does what the node does, if it is still the run of antlerd that asked.
func (w *world) accept(a answer) {
	n := w.nodes[a.node]
	if n.run != a.run {
		return
	}

	n.lease.Answered(w.timing, a.epoch, a.sentAt)

	if n.lease.Valid(w.local(n.clock), a.epoch) {
		n.serves = n.lease.Until().Add(w.timing.FenceDeadline - n.clock)
	}
}

func (w *world) lose(t *rapid.T) {
	if rapid.Bool().Draw(t, "the answer") {
		take(t, &w.answers)
	} else {
		take(t, &w.renewals)
	}
}

// elect starts a term. Of the earlier terms' proposals a prefix is committed
// first (they are in the new leader's log), the others never.
func (w *world) elect(t *rapid.T) {
	if n := len(w.terms); n > 0 {
		w.terms[n-1].deposed, w.terms[n-1].last = true, w.record
	}

	for range rapid.IntRange(0, len(w.proposals)).Draw(t, "in its log") {
		w.applyFirst()
	}

	w.proposals = nil
	_, n := w.node(t)
	w.terms = append(w.terms, &modelLeader{
		clock: n.clock,
		lease: authority.NewLeaderLease(w.timing, w.local(n.clock), w.record.Epoch),
	})
}

func (w *world) leader() *modelLeader { return w.terms[len(w.terms)-1] }

// grant is tried by the current leader. (A deposed one's proposals go nowhere.)
func (w *world) grant(t *rapid.T) {
	l := w.leader()
	if !l.lease.MayGrant(w.local(l.clock), w.record) {
		return
	}

	_, n := w.node(t)
	l.lease.Close(w.record.Epoch)
	w.propose(authority.Command{Kind: authority.KindGrant, Epoch: w.record.Epoch + 1, Node: n.name}, 0)
}

func (w *world) propose(c authority.Command, node int) {
	w.proposals = append(w.proposals, proposal{len(w.terms) - 1, c, node, w.nodes[node].run})
}

// release: the holder stops serving, forgets its lease, and says so.
func (w *world) release(t *rapid.T) {
	i, n := w.holder()
	if n == nil || !n.lease.Valid(w.local(n.clock), w.record.Epoch) {
		return
	}

	n.lease.Abandon(w.record.Epoch)
	n.serves = w.now
	w.releases = append(w.releases, renewal{node: i, run: n.run, epoch: w.record.Epoch, seq: n.seq.Next()})
}

func (w *world) releaseArrives(t *rapid.T) {
	r, ok := take(t, &w.releases)
	if !ok {
		return
	}

	if w.leader().lease.Release(r.epoch, r.run) {
		w.propose(authority.Command{Kind: authority.KindRelease, Epoch: r.epoch, Node: w.nodes[r.node].name, Seq: r.seq}, r.node)
	}
}

// hold asks for time, or ends an earlier hold.
func (w *world) hold(t *rapid.T) {
	i, n := w.holder()
	if n == nil || !n.lease.Valid(w.local(n.clock), w.record.Epoch) {
		return
	}

	ms := rapid.SampledFrom([]int64{0, 15_000}).Draw(t, "hold")
	w.propose(authority.Command{Kind: authority.KindHold, Epoch: w.record.Epoch, Node: n.name, HoldMS: ms, Seq: n.seq.Next()}, i)
}

func (w *world) commit(t *rapid.T) {
	if len(w.proposals) == 0 {
		return
	}

	w.applyFirst()
}

func (w *world) applyFirst() {
	p := w.proposals[0]
	w.proposals = w.proposals[1:]

	next, err := w.record.Apply(p.command)
	if err != nil {
		return
	}

	w.record = next
	w.leader().lease.Begin(w.local(w.leader().clock), next.Epoch)

	// A hold that was granted to a live lease lets the holder restart antlerd.
	n := w.nodes[p.node]
	if p.command.Kind == authority.KindHold && p.command.HoldMS > 0 &&
		n.run == p.run && n.lease.Valid(w.local(n.clock), p.command.Epoch) && !w.holdPending(p.node) {
		w.replace(p.node, w.now.Add(next.HoldFor()))
	}
}

// holdPending: the node waits for one wish about a hold before it has the next,
// so the restart goes by the last.
func (w *world) holdPending(node int) bool {
	return slices.ContainsFunc(w.proposals, func(p proposal) bool {
		return p.command.Kind == authority.KindHold && p.node == node && p.run == w.nodes[node].run
	})
}

// restart without a hold: what serves is not ended by a lease that nobody
// watches, so the model lets it serve no longer than the lease.
func (w *world) restart(t *rapid.T) {
	i, n := w.node(t)
	w.replace(i, n.serves)
}

func (w *world) replace(i int, serves time.Time) {
	n := w.nodes[i]
	n.run++
	n.seq = authority.NewSequence(n.run)
	n.lease = authority.HolderLease{}
	n.serves = serves
}

// check: while one node has a valid lease, no other serves.
func (w *world) check(t *rapid.T) {
	for _, n := range w.nodes {
		if !n.lease.Valid(w.local(n.clock), w.record.Epoch) {
			continue
		}

		for _, other := range w.nodes {
			if other != n && other.serves.After(w.now) {
				t.Fatalf("%s has a lease of epoch %d at %s, while %s serves until %s",
					n.name, w.record.Epoch, w.now.Format("05.000"), other.name, other.serves.Format("05.000"))
			}
		}
	}
}

// take removes a random message, if there is one.
func take[T any](t *rapid.T, from *[]T) (taken T, ok bool) {
	if len(*from) == 0 {
		return taken, false
	}

	i := rapid.IntRange(0, len(*from)-1).Draw(t, "message")
	taken = (*from)[i]
	*from = append((*from)[:i:i], (*from)[i+1:]...)

	return taken, true
}
