package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// confirm sees to it that a quorum has voted in no later term, each of its nodes at some
// moment after the renewal was sent that is to be answered. So everything that a former
// leader promised before is over when it returns nil.
//
// Three words count: that of the node which sent the renewal, with the term in which it
// follows; those of voters that answer a heartbeat now; and this node's own. Among three
// voters the first and the last are a quorum, and nobody needs to be asked.
func (l *leadership) confirm(ctx context.Context, from string, term uint64) error {
	if term > l.term {
		return fmt.Errorf("ask the quorum who leads: %s: %w", from, l.over(term))
	}

	voters := l.quorum.voters()
	missing := len(voters)/2 + 1

	var others []raft.Server

	for _, v := range voters {
		switch {
		case string(v.ID) == l.quorum.self.Name, string(v.ID) == from && term == l.term:
			missing--
		default:
			others = append(others, v)
		}
	}

	if err := l.askOthers(ctx, others, missing); err != nil {
		return fmt.Errorf("ask the quorum who leads: %w", err)
	}

	if !l.quorum.leads(l.term) {
		return fmt.Errorf("ask the quorum who leads: this node doesn't any more, its term %d is over", l.term)
	}

	return nil
}

// over says that a voter is in a later term. This node's Raft hears of that as soon as it
// tells the voter something.
func (l *leadership) over(term uint64) error {
	l.quorum.raft.Barrier(l.timing.ApplyTimeout)

	return fmt.Errorf("term %d is over, there is %d", l.term, term)
}

// askOthers returns when as many of the voters as are missing have answered a heartbeat.
func (l *leadership) askOthers(ctx context.Context, voters []raft.Server, missing int) error {
	if missing <= 0 {
		return nil
	}

	answers := make(chan error, len(voters))

	for _, v := range voters {
		go func() { answers <- l.ask(v) }()
	}

	var failures []error

	for asked := len(voters); missing > 0; asked-- {
		if missing > asked {
			return errors.Join(failures...)
		}

		select {
		case <-ctx.Done():
			return errors.Join(append(failures, ctx.Err())...)
		case err := <-answers:
			if err == nil {
				missing--
			} else {
				failures = append(failures, err)
			}
		}
	}

	return nil
}

// ask the voter whether it follows this node in this term.
func (l *leadership) ask(v raft.Server) error {
	q := l.quorum
	if !q.leads(l.term) {
		return errOver // as with a heartbeat that was held back
	}

	var answer raft.AppendEntriesResponse

	err := q.transport.send(v.ID, v.Address, &raft.AppendEntriesRequest{RPCHeader: q.header(), Term: l.term, Leader: q.header().Addr}, &answer)

	switch {
	case err != nil:
		return fmt.Errorf("ask %s: %w", v.ID, err)
	case answer.Term > l.term:
		return fmt.Errorf("ask %s: %w", v.ID, l.over(answer.Term))
	case !answer.Success:
		return fmt.Errorf("ask %s: it doesn't follow this node in term %d", v.ID, l.term)
	}

	q.transport.follows(v.ID, l.term)

	return nil
}

// voters of Raft's configuration.
func (q *quorum) voters() []raft.Server {
	var voters []raft.Server

	for _, s := range q.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s)
		}
	}

	return voters
}

// leads reports whether this node is the leader of the term. Terms only grow: one that is
// the current one now was so before.
func (q *quorum) leads(term uint64) bool {
	return q.raft.State() == raft.Leader && q.raft.CurrentTerm() == term
}

// follow has this node's Raft hear what an answer says of the leader and its term. In
// another term, or where it doesn't follow, it needs a heartbeat of Raft's own.
func (q *quorum) follow(leader string, term uint64) {
	address, known := q.raft.LeaderWithID()
	if string(known) != leader || q.raft.State() != raft.Follower || q.raft.CurrentTerm() != term {
		return
	}

	q.transport.heard(&raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader), Addr: []byte(address)},
		Term:      term, Leader: []byte(address),
	})
}
