package authority

import (
	"context"
	"reflect"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

// renewForever sends this node's renewals to the leader until ctx ends.
func (a *Authority) renewForever(ctx context.Context) error {
	to := &renewals{authority: a}
	defer to.hangUp()

	for ask := 0; ; ask++ {
		begun := a.config.Now()
		a.renew(ctx, to, ask)

		timer := time.NewTimer(a.renewAgain() - a.config.Now().Sub(begun))

		select {
		case <-ctx.Done():
			timer.Stop()

			return nil
		case <-timer.C:
		case <-a.renewNow:
			timer.Stop()
		}
	}
}

// renewAgain is the time from one renewal to the next. Who has no lease to
// lengthen only shows that it is there; news are told at once.
func (a *Authority) renewAgain() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.holds() || a.leader == "" {
		return a.config.Timing.RenewInterval
	}

	return a.config.Timing.ReportInterval
}

// renew sends one renewal and takes over the answer. Without a known leader the
// members are asked in turn who it is; ask counts.
func (a *Authority) renew(ctx context.Context, renewals *renewals, ask int) {
	to := a.knownLeader()
	if to == "" {
		to = a.config.Members[ask%len(a.config.Members)].Name
	}

	a.beginGuard()
	a.config.Keep()

	// What it says of the lease and of Raft counts from then on: see confirm.
	sent := a.config.Now()
	request := a.request(to)

	answer, err := renewals.ask(ctx, to, request)
	if err != nil {
		a.forgetLeader(to)

		return
	}

	a.follow(to, answer)
	a.renewed(to, request.GetEpoch(), sent, answer)
	a.compareClocks(sent, answer)

	if answer.GetLeader() == to {
		a.extendGuard(sent)
	}

	if answer.GetRenewed() {
		a.rememberLease()
	}
}

// follow the leader that answered, as if its heartbeat had come.
func (a *Authority) follow(leader string, answer *antlerv1.RenewResponse) {
	a.mu.Lock()
	q := a.quorum
	a.mu.Unlock()

	if q != nil && answer.GetTerm() != 0 && answer.GetLeader() == leader {
		q.follow(leader, answer.GetTerm())
	}
}

// request is this node's renewal now.
func (a *Authority) request(to string) *antlerv1.RenewRequest {
	a.mu.Lock()
	defer a.mu.Unlock()

	report := a.report
	report.Guard, report.Unheard = a.offer(), a.unheard

	report.ClockAhead = a.clockAhead

	request := &antlerv1.RenewRequest{Run: a.identity.Run, Report: reportToWire(report), Time: timestamppb.New(a.config.Wall())}
	if a.holds() {
		request.Epoch = a.record.Epoch
	}

	if a.quorum != nil && a.quorum.leader() == to {
		request.Term = a.quorum.raft.CurrentTerm()
	}

	return request
}

// holds reports whether this node holds the current epoch and hasn't given it
// up. The lock is held.
func (a *Authority) holds() bool {
	return a.record.Epoch > 0 && a.record.Holder == a.config.Self && !a.lease.Abandoned(a.record.Epoch)
}

// knownLeader is whom to ask: Raft's word where this node votes.
func (a *Authority) knownLeader() string {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.quorum != nil {
		if leader := a.quorum.leader(); leader != "" {
			return leader
		}
	}

	return a.leader
}

// forgetLeader after it did not answer, so that others are asked who leads.
func (a *Authority) forgetLeader(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.leader == name {
		a.leader = ""
		a.notify()
	}
}

// renewed takes over an answer to the renewal that was sent at the given time.
func (a *Authority) renewed(from string, epoch uint64, sent time.Time, answer *antlerv1.RenewResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if answer.GetLeader() != from {
		if a.leader = answer.GetLeader(); a.leader != "" {
			a.kick()
		}

		return
	}

	now := a.config.Now()
	mayServe := func() bool { return a.holds() && a.lease.Valid(now, a.record.Epoch) }
	// Most answers move nothing but the ends of the lease and of what was told, for
	// which nobody has to wake up: see Status.
	served, news := mayServe(), a.leader != from || a.reason != answer.GetReason() || !now.Before(a.answered.Add(a.config.Timing.LeaseTTL))

	if answer.GetRenewed() {
		a.lease.Answered(a.config.Timing, epoch, sent)
	}

	a.leader, a.reason, a.answered = from, answer.GetReason(), sent

	for _, m := range answer.GetMembers() {
		news = a.see(m, now) || news
	}

	a.learn(recordFromWire(answer.GetRecord()), answer.GetIndex())

	if news || mayServe() != served {
		a.notify()
	}
}

// see a node as the leader does, and report whether that is news. The lock is held.
func (a *Authority) see(m *antlerv1.MemberView, now time.Time) (news bool) {
	name := m.GetName()
	news = a.alive[name] != m.GetAlive()
	a.alive[name] = m.GetAlive()

	if m.GetAge() == nil {
		return news
	}

	view := NodeView{LastSeen: now.Add(-m.GetAge().AsDuration()), Report: reportFromWire(m.GetReport())}
	was, known := a.nodes[name]
	a.nodes[name] = view

	return news || !known || !reflect.DeepEqual(was.Report, view.Report)
}

// compareClocks of this node, and of the one that serves: the leader told it somewhere
// between when the renewal was sent and now.
func (a *Authority) compareClocks(sent time.Time, answer *antlerv1.RenewResponse) {
	ahead, serving := time.Duration(0), answer.GetRecord().GetHolder()

	if at := answer.GetTime(); at != nil && serving != a.config.Self {
		a.config.Heard(serving, at.AsTime())

		// By the wall clock of now: it may have been set just before.
		now := a.config.Now()
		ahead = now.Add(-now.Sub(sent) / 2).Round(0).Sub(at.AsTime()).Round(time.Second)
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	a.clockAhead = ahead
}

// rememberLease tells the next run of antlerd how long this one's lease lasts,
// and the hold after it that this run has asked for.
func (a *Authority) rememberLease() {
	a.remembering.Lock()
	defer a.remembering.Unlock()

	a.mu.Lock()
	left := a.lease.Until().Sub(a.config.Now())
	a.mu.Unlock()

	// Not under the lock that the lease's end is told under.
	err := a.config.Memory.Remember(max(left, 0) + a.heldFor)
	if err != nil && !a.forgets {
		a.config.Logger.Warn("the next run of antlerd won't know how long this one's lease lasts", zap.Error(err))
	}

	a.forgets = err != nil
}

// answerRenew answers a renewal, as the leader or by naming it.
func (a *Authority) answerRenew(ctx context.Context, from string, request *antlerv1.RenewRequest) (*antlerv1.RenewResponse, error) {
	l, leader := a.readyLeadership(ctx)
	if l == nil {
		return &antlerv1.RenewResponse{Leader: leader}, nil
	}

	report := reportFromWire(request.GetReport())

	if request.GetEpoch() != 0 || report.Guard.TTLMS != 0 {
		if err := l.confirm(ctx, from, request.GetTerm()); err != nil {
			return nil, err
		}
	}

	renewed := false
	if request.GetEpoch() != 0 {
		renewed = l.renew(from, request.GetEpoch(), request.GetRun())
	}

	l.note(from, report, wallFromWire(request.GetTime()))
	l.quorum.transport.follows(raft.ServerID(from), request.GetTerm())

	answer := l.view(a.config)
	answer.Leader, answer.Renewed = a.config.Self, renewed

	if l.quorum.leads(l.term) {
		answer.Term = l.term
	}

	return answer, nil
}

// readyLeadership waits while this node is elected and not ready yet: whoever asks has
// just heard of the election, and would only come again later.
func (a *Authority) readyLeadership(ctx context.Context) (*leadership, string) {
	// One that takes much longer is better told of: the caller's own patience ends, too.
	ctx, cancel := context.WithTimeout(ctx, 2*a.config.Timing.RaftTakeover)
	defer cancel()

	for {
		changed := a.Changed()

		l, leader := a.leadership()
		if l != nil || !a.elected() {
			return l, leader
		}

		select {
		case <-ctx.Done():
			return nil, ""
		case <-changed:
		}
	}
}

// elected is Raft's word, with which a term begins before this node can lead.
func (a *Authority) elected() bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.quorum != nil && a.quorum.raft.State() == raft.Leader
}

// leadership returns this node's term as the leader, or nil and who leads as far
// as this node knows.
func (a *Authority) leadership() (*leadership, string) {
	known := a.knownLeader()

	a.mu.Lock()
	defer a.mu.Unlock()

	if a.leading == nil && known == a.config.Self {
		known = "" // elected, but not ready yet
	}

	return a.leading, known
}

// renew extends the lease if the record says that the node holds the epoch. The
// caller has had a quorum confirm the leadership since the renewal was sent.
func (l *leadership) renew(node string, epoch, run uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	record, _ := l.quorum.record.read()

	return record.Epoch == epoch && record.Holder == node && l.lease.Renew(l.now(), epoch, run)
}

// note keeps what a node said, and decides again if that may change anything.
func (l *leadership) note(node string, r Report, clock time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()

	before := l.nodes[node]
	now := l.now()
	l.nodes[node] = NodeView{LastSeen: now, Report: r, Clock: clock}

	if !before.alive(now, l.timing) || before.Report.Replica != r.Replica || before.Report.Leaving != r.Leaving || before.Report.Guard != r.Guard {
		l.wake()
	}
}

// view is what the leader tells everybody.
func (l *leadership) view(c Config) *antlerv1.RenewResponse {
	l.mu.Lock()
	defer l.mu.Unlock()

	record, index := l.quorum.record.read()
	answer := &antlerv1.RenewResponse{Index: index, Record: recordToWire(record), Reason: l.reason}
	now := l.now()

	if holder := l.nodes[record.Holder]; holder.alive(now, l.timing) && !holder.Clock.IsZero() {
		answer.Time = timestamppb.New(holder.Clock.Add(now.Sub(holder.LastSeen)))
	}

	for _, m := range c.Members {
		n := l.nodes[m.Name]
		answer.Members = append(answer.Members, viewToWire(m.Name, n, now, n.alive(now, l.timing)))
	}

	return answer
}
