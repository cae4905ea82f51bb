package authority

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	antlerv1 "antler/api/antler/v1"
)

// TestNobodyWaitsForWhatIsNeverAnswered: what Raft has handed to a state machine
// that doesn't get to it holds up neither the end of a term nor that of antlerd.
func TestNobodyWaitsForWhatIsNeverAnswered(t *testing.T) {
	stuck := make(chan struct{})
	r := &replicated{changed: func() { <-stuck }}
	l := &leadership{quorum: &quorum{raft: aloneInRaft(t, r), record: r}, timing: DefaultTiming()}

	t.Cleanup(func() { close(stuck) })

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	out := l.apply(ctx, Command{Kind: KindConsent, ConsentID: "c", Replicas: []string{"n1"}})
	require.ErrorIs(t, out.err, context.DeadlineExceeded)
	require.NotErrorIs(t, out.err, errNotLeader, "whether it was committed is unknown")

	a := &Authority{config: Config{Timing: l.timing, Now: time.Now}}
	_, err := a.takeOver(ctx, l.quorum)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestForcedGrantThatNobodyWaitsForIsHeardOut: who asked for it has hung up, and the
// record refuses it. The holder's renewals are answered as before.
func TestForcedGrantThatNobodyWaitsForIsHeardOut(t *testing.T) {
	r := &replicated{changed: func() {}, state: State{Phase: PhaseFormed, Replicas: []string{"n1", "n2"}, Epoch: 1, Holder: "n1"}}
	l := &leadership{quorum: &quorum{raft: aloneInRaft(t, r), record: r}, timing: DefaultTiming(), now: time.Now}
	l.term = l.quorum.raft.CurrentTerm()
	l.lease = NewLeaderLease(l.timing, time.Now().Add(-time.Hour), 1)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	unsigned, err := Command{Kind: KindForceGrant, Epoch: 2, Node: "n2"}.Encode()
	require.NoError(t, err)

	out := l.submit(ctx, "n1", unsigned)
	require.ErrorIs(t, out.err, ErrNobodySigned)
	require.True(t, l.renew("n1", 1, 1), "the epoch is open again")
}

// TestRenewalWaitsForALeaderThatIsNotReady: who has heard of an election asks at once, and
// the lease may not last until it asks again.
func TestRenewalWaitsForALeaderThatIsNotReady(t *testing.T) {
	r := &replicated{changed: func() {}, state: State{Phase: PhaseFormed, Replicas: []string{"n1"}, Epoch: 1, Holder: "n1"}}
	q := &quorum{self: Member{Name: "n1"}, raft: aloneInRaft(t, r), record: r, transport: newCalmTransport(nil, time.Hour, nil)}
	l := &leadership{quorum: q, timing: DefaultTiming(), now: time.Now, nodes: map[string]NodeView{}}
	l.term = q.raft.CurrentTerm()
	l.lease = NewLeaderLease(l.timing, time.Now(), 1)
	a := &Authority{config: Config{Self: "n1", Timing: l.timing, Now: time.Now}, quorum: q, changed: make(chan struct{})}
	request := &antlerv1.RenewRequest{Epoch: 1, Run: 1, Report: reportToWire(Report{})}

	gone, cancel := context.WithCancel(t.Context())
	cancel()

	answer, err := a.answerRenew(gone, "n1", request)
	require.NoError(t, err)
	require.Empty(t, answer.GetLeader(), "nobody waits for the answer any more")

	a.config.Timing.RaftTakeover = 10 * time.Millisecond
	begun := time.Now()
	answer, err = a.answerRenew(t.Context(), "n1", request)
	require.NoError(t, err)
	require.Empty(t, answer.GetLeader(), "it takes too long")
	require.GreaterOrEqual(t, time.Since(begun), 2*a.config.Timing.RaftTakeover)

	a.config.Timing.RaftTakeover = time.Hour
	answered := make(chan *antlerv1.RenewResponse, 1)

	go func() {
		answer, err := a.answerRenew(t.Context(), "n1", request)
		assert.NoError(t, err)
		answered <- answer
	}()

	a.update(func() {}) // of something else
	require.Empty(t, answered)
	a.update(func() { a.leading = l })

	answer = <-answered
	require.Equal(t, "n1", answer.GetLeader())
	require.True(t, answer.GetRenewed())
}

// TestWhoIsCutOffPromisesNothing: a leader to which no quorum answers any more doesn't
// know yet that another one counts. It keeps nobody's lease, nor a node that has given
// its word from its reset. Two of three voters are a quorum, and one of them may be who
// asks: by the term in which it follows.
func TestWhoIsCutOffPromisesNothing(t *testing.T) {
	r := &replicated{changed: func() {}, state: State{Phase: PhaseFormed, Replicas: []string{"n1"}, Epoch: 1, Holder: "n2"}}
	asked := make(chan raft.ServerID, 100)
	tr := newCalmTransport(nil, time.Hour, nil)
	tr.send = func(id raft.ServerID, _ raft.ServerAddress, request *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) error {
		assert.True(t, isHeartbeat(request))
		asked <- id

		return errors.New("it doesn't answer")
	}

	l := &leadership{
		quorum: &quorum{self: Member{Name: "n1"}, raft: aloneInRaft(t, r), record: r, transport: tr},
		timing: DefaultTiming(), now: time.Now, nodes: map[string]NodeView{},
	}
	l.term = l.quorum.raft.CurrentTerm()
	l.lease = NewLeaderLease(l.timing, time.Now(), 1)
	a := &Authority{config: Config{Self: "n1", Timing: l.timing, Now: time.Now}, leading: l}

	plain := &antlerv1.RenewRequest{Report: reportToWire(Report{})}
	guarded := &antlerv1.RenewRequest{Report: reportToWire(Report{Guard: Guard{Boot: "b", TTLMS: 40_000}})}
	holder := &antlerv1.RenewRequest{Epoch: 1, Run: 1, Report: reportToWire(Report{})}

	for _, request := range []*antlerv1.RenewRequest{plain, guarded, holder} {
		answer, err := a.answerRenew(t.Context(), "n2", request)
		require.NoError(t, err)
		require.Equal(t, "n1", answer.GetLeader())
		require.Equal(t, l.term, answer.GetTerm())
	}

	// From here on a quorum takes two, and the other one answers nothing.
	l.quorum.raft.AddVoter("n2", "nowhere", 0, 0)
	require.Eventually(t, func() bool { return len(l.quorum.voters()) == 2 }, 30*time.Second, time.Millisecond)

	answer, err := a.answerRenew(t.Context(), "n2", plain)
	require.NoError(t, err)
	require.Equal(t, "n1", answer.GetLeader(), "nothing hangs on it")

	for _, request := range []*antlerv1.RenewRequest{guarded, holder} {
		request.Term = l.term
		answer, err = a.answerRenew(t.Context(), "n2", request)
		require.NoError(t, err, "it follows, and says so")
		require.Equal(t, request == holder, answer.GetRenewed())
		require.Empty(t, asked)

		_, err = a.answerRenew(t.Context(), "n4", request)
		require.ErrorContains(t, err, "ask the quorum who leads", "who doesn't vote says nothing by following")
		require.Equal(t, raft.ServerID("n2"), <-asked)

		for _, term := range []uint64{0, l.term - 1} {
			request.Term = term
			_, err = a.answerRenew(t.Context(), "n2", request)
			require.ErrorContains(t, err, "ask the quorum who leads", "it doesn't follow in this term")
			require.Equal(t, raft.ServerID("n2"), <-asked)
		}

		request.Term = l.term + 1
		_, err = a.answerRenew(t.Context(), "n2", request)
		require.ErrorContains(t, err, "is over")
		require.Empty(t, asked)
	}
}

// TestLeaderCountsThoseWhoAnswer: of five voters it takes two others. One that is in a
// later term, or doesn't follow, isn't among them.
func TestLeaderCountsThoseWhoAnswer(t *testing.T) {
	refuse := errors.New("it doesn't answer")
	alone := aloneInRaft(t, &replicated{changed: func() {}})
	term := alone.CurrentTerm()
	follows := raft.AppendEntriesResponse{Term: term, Success: true}

	leading := func(term uint64, answers map[raft.ServerID]raft.AppendEntriesResponse) *leadership {
		tr := newCalmTransport(nil, time.Hour, nil)
		tr.send = func(id raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
			if answers == nil {
				<-t.Context().Done()
			}

			answer, ok := answers[id]
			*response = answer

			if !ok {
				return refuse
			}

			return nil
		}

		return &leadership{quorum: &quorum{self: Member{Name: "n1"}, raft: alone, transport: tr}, term: term, timing: DefaultTiming()}
	}

	others := []raft.Server{{ID: "n2"}, {ID: "n3"}, {ID: "n4"}, {ID: "n5"}}

	for name, c := range map[string]struct {
		answers map[raft.ServerID]raft.AppendEntriesResponse
		missing int
		fails   string
	}{
		"nobody needs to be asked": {nil, 0, ""},
		"enough":                   {map[raft.ServerID]raft.AppendEntriesResponse{"n3": follows, "n5": follows}, 2, ""},
		"one too few":              {map[raft.ServerID]raft.AppendEntriesResponse{"n3": follows}, 2, refuse.Error()},
		"a later term":             {map[raft.ServerID]raft.AppendEntriesResponse{"n2": follows, "n3": {Term: term + 1, Success: true}}, 2, "is over"},
		"doesn't follow":           {map[raft.ServerID]raft.AppendEntriesResponse{"n2": follows, "n3": {Term: term}}, 2, "doesn't follow"},
	} {
		err := leading(term, c.answers).askOthers(t.Context(), others, c.missing)
		if c.fails == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.fails, name)
		}
	}

	all := map[raft.ServerID]raft.AppendEntriesResponse{"n2": follows, "n3": follows, "n4": follows, "n5": follows}
	require.ErrorIs(t, leading(term+1, all).askOthers(t.Context(), others, 2), errOver, "this node leads in no such term")

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, leading(term, nil).askOthers(gone, others, 4), context.Canceled)
}

// TestAnswerThatIsNoNewsWakesNobody: nearly all of them only move the lease's end on.
func TestAnswerThatIsNoNewsWakesNobody(t *testing.T) {
	now := time.Unix(1000, 0)
	a := &Authority{
		config: Config{Self: "n1", Timing: DefaultTiming(), Now: func() time.Time { return now }}, changed: make(chan struct{}),
		renewNow: make(chan struct{}, 1), alive: map[string]bool{}, nodes: map[string]NodeView{},
		record: State{Epoch: 1, Holder: "n1"}, index: 7,
	}

	answer := &antlerv1.RenewResponse{
		Leader: "n3", Index: 7, Record: recordToWire(a.record),
		Members: []*antlerv1.MemberView{viewToWire("n2", NodeView{LastSeen: now}, now, true)},
	}

	wakes := func(what string, want bool) {
		t.Helper()

		changed := a.changed
		a.renewed("n3", 1, now, answer)

		select {
		case <-changed:
			require.True(t, want, what)
		default:
			require.False(t, want, what)
		}

		now = now.Add(time.Second)
	}

	wakes("who leads", true)
	wakes("the same", false)

	answer.Renewed = true
	wakes("the first lease", true)
	wakes("a longer one", false)

	answer.Members[0].Alive = false
	wakes("a node is gone", true)
	wakes("it still is", false)

	answer.Members[0].Report.Version = "2"
	wakes("what a node says", true)

	answer.Reason = "waits"
	wakes("what is waited for", true)
	wakes("it still is", false)

	answer.Index, answer.Record.Target = 8, "n2"
	wakes("the record", true)

	now = now.Add(DefaultTiming().LeaseTTL)
	wakes("the lease that had ended", true)
	wakes("the same", false)
}

// aloneInRaft is the leader of a quorum of one.
func aloneInRaft(t *testing.T, fsm raft.FSM) *raft.Raft {
	t.Helper()

	config := raft.DefaultConfig()
	config.LocalID, config.Logger = "n1", newRaftLogger(zaptest.NewLogger(t))
	// A test that adds a voter has that long before it leads no more.
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = time.Second, time.Second, time.Second

	store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	address, transport := raft.NewInmemTransport("")
	servers := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}
	require.NoError(t, raft.BootstrapCluster(config, store, store, snapshots, transport, servers))

	r, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Shutdown().Error()) })

	require.True(t, <-r.LeaderCh())

	return r
}
