package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// leadership is one term of this node as the leader, from when it has applied
// everything before the term.
type leadership struct {
	quorum *quorum
	term   uint64
	since  time.Time
	timing Timing
	now    func() time.Time
	// event asks for a decision.
	event chan struct{}

	mu    sync.Mutex
	lease *LeaderLease
	nodes map[string]NodeView
	seen  seen
	// reason is what the last decision waits for.
	reason string
}

// seen is when the leader first saw things in the record.
type seen struct {
	record                            State
	epoch, released, target, transfer time.Time
	gaveUp                            map[string]time.Time
}

// lead follows the elections until ctx ends.
func (a *Authority) lead(ctx context.Context, q *quorum) {
	endTerm := func() {}
	defer func() { endTerm() }()

	leaders := make(chan raft.Observation, 16)
	observer := raft.NewObserver(leaders, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)

		return ok
	})

	q.raft.RegisterObserver(observer)
	defer q.raft.DeregisterObserver(observer)

	a.kick()

	for {
		select {
		case <-ctx.Done():
			return
		case <-leaders:
			// Another leader, for everybody: the next renewal goes there, now.
			a.peers.leaderChanged()
			a.kick()
		case leads := <-q.raft.LeaderCh():
			// Each "true" is another term, even with no "false" between.
			endTerm()

			endTerm = func() {}
			if leads {
				endTerm = a.beginTerm(ctx, q)
			}
		}
	}
}

// beginTerm lets this node lead until the function that it returns is called.
func (a *Authority) beginTerm(ctx context.Context, q *quorum) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})

	go func() {
		defer close(done)
		a.serveTerm(ctx, q)
	}()

	return func() {
		cancel()
		<-done
	}
}

// serveTerm is a term of this node's leadership.
func (a *Authority) serveTerm(ctx context.Context, q *quorum) {
	l, err := a.takeOver(ctx, q)

	for err != nil {
		a.config.Logger.Info("leading the quorum, but not ready", zap.Error(err))

		select {
		case <-ctx.Done():
			return // lost before it began
		case <-time.After(takeOverAgain):
			l, err = a.takeOver(ctx, q)
		}
	}

	a.config.Logger.Info("leading the quorum", zap.Uint64("term", l.term))
	a.update(func() { a.leading = l })
	defer a.update(func() { a.leading = nil })

	a.kick()
	l.run(ctx, a)
}

// takeOverAgain is the pause before a new leader tries again to apply what
// earlier leaders left.
const takeOverAgain = 100 * time.Millisecond

// takeOver applies everything before this term. The time from which the new
// leader waits is read after that, so it is later than the election.
func (a *Authority) takeOver(ctx context.Context, q *quorum) (*leadership, error) {
	term := q.raft.CurrentTerm()

	if err := committed(ctx, q.raft.Barrier(a.config.Timing.ApplyTimeout)); err != nil {
		return nil, fmt.Errorf("apply what earlier leaders left: %w", err)
	}

	if now := q.raft.CurrentTerm(); now != term {
		return nil, fmt.Errorf("term %d is over, this is %d", term, now)
	}

	since := a.config.Now()
	record, _ := q.record.read()

	return &leadership{
		quorum: q, term: term, since: since, timing: a.config.Timing, now: a.config.Now,
		event: make(chan struct{}, 1),
		lease: NewLeaderLease(a.config.Timing, since, record.Epoch),
		nodes: map[string]NodeView{},
		seen:  seen{epoch: since, released: since, target: since, record: record, gaveUp: map[string]time.Time{}},
	}, nil
}

// run decides at each event, and once per RenewInterval at least.
func (l *leadership) run(ctx context.Context, a *Authority) {
	timer := time.NewTimer(0)
	defer timer.Stop()

	for ctx.Err() == nil {
		changed := a.Changed()

		action, again := l.decide(a.config)
		if err := l.act(ctx, a, action); err != nil {
			a.config.Logger.Info("decision not carried out", zap.String("decision", string(action.Kind)), zap.String("node", action.Node), zap.Error(err))
		}

		timer.Reset(again)

		select {
		case <-ctx.Done():
		case <-l.event:
		case <-changed:
		case <-timer.C:
		}
	}
}

// decide looks at the situation. If the decision is a grant, the last epoch is
// closed before the lock is let go: no renewal is answered from here on.
func (l *leadership) decide(c Config) (Action, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()

	now := l.now()
	record, _ := l.quorum.record.read()
	l.look(now, record)

	s := Situation{
		Now: now, Self: c.Self, Timing: l.timing, Members: c.Members, AwaitRestore: c.AwaitRestore, Record: record, Nodes: maps.Clone(l.nodes),
		GrantAt: l.lease.GrantAt(record), LedSince: l.since, TransferTried: l.seen.transfer,
		EpochSince: l.seen.epoch, ReleasedSince: l.seen.released, TargetSet: l.seen.target, GaveUp: maps.Clone(l.seen.gaveUp),
	}
	action := Decide(s)
	l.reason = action.Reason

	switch action.Kind {
	case ActGrant:
		l.lease.Close(record.Epoch)
	case ActTransfer:
		l.seen.transfer = now
	}

	again := l.timing.RenewInterval
	if wait := s.GrantAt.Sub(now); wait > 0 {
		again = min(again, wait)
	}

	return action, again
}

// look notes when things appeared in the record.
func (l *leadership) look(now time.Time, record State) {
	was := l.seen.record
	l.seen.record = record
	l.lease.Begin(now, record.Epoch)

	if record.Epoch != was.Epoch {
		l.seen.epoch = now
	}

	if record.Holder == "" && was.Holder != "" {
		l.seen.released = now
	}

	if record.Target != was.Target {
		l.seen.target = now
	}

	for n, g := range record.GiveUps {
		if was.GiveUps[n] != g && g.Failed {
			l.seen.gaveUp[n] = now
		} else if _, ok := l.seen.gaveUp[n]; !ok {
			l.seen.gaveUp[n] = l.since
		}
	}
}

// act carries the decision out.
func (l *leadership) act(ctx context.Context, a *Authority, action Action) error {
	record, _ := l.quorum.record.read()

	switch action.Kind {
	case ActConsent:
		a.config.Logger.Info("recording consent to form the cluster", zap.Strings("replicas", action.Replicas))

		return l.apply(ctx, Command{Kind: KindConsent, ConsentID: rand.Text(), ClusterID: a.config.ClusterID, Replicas: action.Replicas}).err
	case ActGrant:
		a.config.Logger.Info("granting", zap.Uint64("epoch", record.Epoch+1), zap.String("node", action.Node), zap.String("last holder", record.LastHolder))

		return l.grant(ctx, Command{Kind: KindGrant, Epoch: record.Epoch + 1, Node: action.Node, Term: l.term})
	case ActClearTarget:
		a.config.Logger.Info("dropping a switchover that was not begun in time", zap.String("target", record.Target))

		return l.apply(ctx, Command{Kind: KindClearTarget, Epoch: record.Epoch}).err
	case ActGuard:
		a.config.Logger.Info("recording whether a node resets itself when it hears nothing", zap.String("node", action.Node), zap.Duration("after", action.Guard.TTL()))

		return l.apply(ctx, Command{Kind: KindGuard, Node: action.Node, Boot: action.Guard.Boot, TTLMS: action.Guard.TTLMS}).err
	case ActDead:
		a.config.Logger.Info("recording that a node is dead", zap.String("node", action.Node))

		return l.apply(ctx, Command{Kind: KindDead, Node: action.Node, Boot: action.Guard.Boot, TTLMS: action.Guard.TTLMS}).err
	case ActTransfer:
		a.config.Logger.Info("moving the leadership to where it is better placed", zap.String("to", action.Node))

		address, err := a.parts().ServerAddr(raft.ServerID(action.Node))
		if err != nil {
			return err
		}

		return committed(ctx, l.quorum.raft.LeadershipTransferToServer(raft.ServerID(action.Node), address))
	}

	return nil
}

// grant proposes a grant whose predecessor epoch was closed. Only a definite
// no opens that again.
func (l *leadership) grant(ctx context.Context, c Command) error {
	out := l.apply(ctx, c)
	l.reopenIfRefused(c.Epoch-1, out.err)

	return out.err
}

func (l *leadership) reopenIfRefused(epoch uint64, err error) {
	rejection := (*Rejection)(nil)
	if !errors.As(err, &rejection) && !errors.Is(err, errNotLeader) {
		return
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	l.lease.Reopen(epoch)
}

// apply proposes a command and waits for the outcome. An error that is not a
// Rejection, nor errNotLeader, means that the outcome is unknown.
func (l *leadership) apply(ctx context.Context, c Command) outcome {
	raw, err := c.Encode()
	if err != nil {
		return outcome{err: err}
	}

	return l.applyRaw(ctx, raw)
}

// errNotLeader: nothing was proposed, because this node doesn't lead.
var errNotLeader = errors.New("this node doesn't lead the quorum")

func (l *leadership) applyRaw(ctx context.Context, raw []byte) outcome {
	future := l.quorum.raft.Apply(raw, l.timing.ApplyTimeout)

	err := committed(ctx, future)
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return outcome{err: errNotLeader}
	}

	if err != nil {
		return outcome{err: fmt.Errorf("commit to the quorum: %w", err)}
	}

	// Followers learn that an entry is committed with the next one, and some wait
	// for this one's effect.
	l.quorum.raft.Barrier(l.timing.ApplyTimeout)

	out, ok := future.Response().(outcome)
	if !ok {
		return outcome{err: fmt.Errorf("commit to the quorum: unexpected answer %T", future.Response())}
	}

	return out
}

// committed waits for what Raft says, and no longer than ctx lasts: what was handed
// to its state machine in the moment in which Raft is shut down is never answered.
func committed(ctx context.Context, future raft.Future) error {
	answered := make(chan error, 1)

	go func() { answered <- future.Error() }()

	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-answered:
		return err
	}
}

// wake asks for a decision soon.
func (l *leadership) wake() {
	select {
	case l.event <- struct{}{}:
	default:
	}
}
