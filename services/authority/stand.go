package authority

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// When the leader dies, Raft needs one to three heartbeat timeouts to replace it: each
// follower looks once in one to two of them, and none votes before it has missed the
// leader itself. The lease of the node that serves would often end first. So that node
// stands for election after LeaderSilence, and the others vote for it though they haven't
// missed the leader yet: Raft has such an election for a leader that hands over
// (TimeoutNow). It is as safe as any other. What it gives up is that a follower which is
// alone in not hearing the leader can't depose it; but this one would have to stop what
// it serves.

// silence is what this node saw when it stood.
type silence struct {
	heard time.Time
	term  uint64
}

// standForever looks after the leader until ctx ends.
func (a *Authority) standForever(ctx context.Context, q *quorum) {
	timing := a.config.Timing
	// The others are asked early, so that their answers are there in time.
	askAfter := timing.askAfter()

	var stood silence

	for {
		is := a.silence(q)
		wait := askAfter - a.config.Now().Sub(is.heard)

		if wait <= 0 {
			wait = timing.RenewInterval / 2 // so Raft's own patience isn't over before the next try

			if is != stood && a.wouldStop(q) && a.othersAnswer(ctx, q) && a.staysSilent(ctx, q, is) && a.stand(q) {
				stood = is
			}
		}

		a.hearAgain(q)

		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// silence since the last sign of a leader: of Raft's, or an answer to a renewal.
func (a *Authority) silence(q *quorum) silence {
	a.mu.Lock()
	defer a.mu.Unlock()

	heard := a.answered
	if contact := q.raft.LastContact(); contact.After(heard) {
		heard = contact
	}

	return silence{heard, q.raft.CurrentTerm()}
}

// wouldStop reports whether this node serves, and follows a leader without which it can't.
func (a *Authority) wouldStop(q *quorum) bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.holds() && a.lease.Valid(a.config.Now(), a.record.Epoch) && q.raft.State() == raft.Follower
}

// othersAnswer reports whether this node and those that answer it are a quorum, without
// the leader: a node that is cut off from all has nothing to gain, and would come back
// with a term that deposes the leader which the others have. They are asked what Raft
// asks before an election; it changes nothing at who answers.
func (a *Authority) othersAnswer(ctx context.Context, q *quorum) bool {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timing.RaftHeartbeat)
	defer cancel()

	voters, leader := a.voters(), q.leader()
	answers := make(chan error, len(voters))
	asked := 0

	for _, v := range voters {
		if v.Name != a.config.Self && v.Name != leader {
			asked++

			go func() { answers <- q.askForVote(v) }()
		}
	}

	for missing := len(voters) / 2; missing > 0; {
		if asked < missing {
			return false
		}

		select {
		case <-ctx.Done():
			return false
		case err := <-answers:
			asked--

			if err == nil {
				missing--
			}
		}
	}

	return true
}

// askForVote asks whether the voter would vote for this node. It says no as long as it
// hears the leader: what counts is that it answers, and is in no later term, in which it
// may have voted. That its log isn't longer than this node's isn't known: if it is, the
// leader is deposed, and this node not elected.
func (q *quorum) askForVote(v Member) error {
	index, term := q.raft.LastIndex(), q.raft.CurrentTerm()

	var answer raft.RequestPreVoteResponse

	err := q.transport.RequestPreVote(raft.ServerID(v.Name), raft.ServerAddress(v.RaftAddress),
		&raft.RequestPreVoteRequest{RPCHeader: q.header(), Term: term, LastLogIndex: index}, &answer)
	if err == nil && answer.Term > term {
		err = fmt.Errorf("%s is in term %d, this node in %d", v.Name, answer.Term, term)
	}

	return err
}

// staysSilent waits until LeaderSilence is over, and reports whether nothing was heard and
// this node still follows. If it doesn't, its Raft has begun an election of its own.
func (a *Authority) staysSilent(ctx context.Context, q *quorum, is silence) bool {
	timer := time.NewTimer(a.config.Timing.LeaderSilence - a.config.Now().Sub(is.heard))
	defer timer.Stop()

	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}

	return a.silence(q) == is && a.wouldStop(q)
}

// stand for election, without asking first whether anybody would vote for this node.
func (a *Authority) stand(q *quorum) bool {
	leader := q.leader()
	a.config.Logger.Info("standing for election: the leader of the quorum is silent, and the lease would end", zap.String("leader", leader))

	err := q.transport.TimeoutNow(raft.ServerID(a.self.Name), raft.ServerAddress(a.self.RaftAddress),
		&raft.TimeoutNowRequest{RPCHeader: q.header()}, &raft.TimeoutNowResponse{})
	if err != nil {
		a.config.Logger.Warn("stand for election", zap.Error(fmt.Errorf("tell this node's own Raft to stand: %w", err)))

		return false
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	a.unheard, a.unheardAt = leader, a.config.Now()

	return true
}

// hearAgain asks the leader in whose place this node stood whether it answers, each
// UnheardFor. Until it does, it shall not lead again: it would be deposed again.
func (a *Authority) hearAgain(q *quorum) {
	a.mu.Lock()
	defer a.mu.Unlock()

	unheard := a.unheard
	if unheard == "" || a.config.Now().Sub(a.unheardAt) < a.config.Timing.UnheardFor {
		return
	}

	a.unheardAt = a.config.Now()

	for _, v := range a.voters() {
		if v.Name == unheard {
			go func() { a.heardAgain(unheard, q.askForVote(v)) }()
		}
	}
}

func (a *Authority) heardAgain(name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if err == nil && a.unheard == name {
		a.unheard = ""
	}
}

func (q *quorum) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(q.self.Name), Addr: []byte(q.self.RaftAddress)}
}
