package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	antlerv1 "antler/api/antler/v1"
)

// introduce makes sure that this node may take part in Raft: that it either has
// the store with which it did before, or is taking part for the first time.
//
// For the first time it needs the answer of every other voter, since the one
// that doesn't answer may be the one that remembers. All voters write the same
// first configuration, so it doesn't matter who is first.
func (a *Authority) introduce(ctx context.Context, s store) error {
	started, err := raft.HasExistingState(s.log, s.log, s.snapshots)
	if err != nil {
		return fmt.Errorf("look for Raft's state in %s: %w: %s", a.config.Dir, err, replaceAdvice)
	}

	if a.identity.Roster != nil {
		if !started {
			return fmt.Errorf("join the quorum: this node has taken part before, but the log in %s is empty: %s", a.config.Dir, replaceAdvice)
		}

		return a.confirm(ctx)
	}

	roster, err := a.meetAll(ctx)
	if err != nil {
		return err
	}

	// In this order: whoever remembers that it took part has a log.
	if err := a.parts().bootstrap(s); err != nil {
		return err
	}

	return a.remember(roster)
}

// errStoreLost: this node voted before, with a store that is gone. It waits for a
// person to give it its vote back (replace.go).
var errStoreLost = errors.New("join the quorum: this node has another store than the one with which it voted")

// confirm returns once another voter knows this node by the store that it has.
// Since a store is given up only when all others have written so, any one of them
// can tell; and without any there is no quorum to join.
func (a *Authority) confirm(ctx context.Context) error {
	for {
		known, err := a.anyoneKnows(ctx)
		if err != nil || known {
			return err
		}

		a.update(func() {
			a.reason = "waiting for another voter to confirm that this node's store is the one it votes with"
		})

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.config.Timing.RenewInterval):
		}
	}
}

// anyoneKnows asks all other voters at once. It reports false if none could tell.
func (a *Authority) anyoneKnows(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	others := slices.DeleteFunc(a.voters(), func(m Member) bool { return m.Name == a.config.Self })
	answers := make(chan *antlerv1.HelloResponse, len(others))

	for _, m := range others {
		go func() {
			answer, err := a.hello(ctx, m)
			if err != nil {
				answer = nil
			}

			answers <- answer
		}()
	}

	for range others {
		answer := <-answers

		switch {
		case !answer.GetTakenPart() || answer.GetClusterId() != a.config.ClusterID:
		case answer.GetKnownAs() == a.identity.Incarnation:
			return true, nil
		default:
			return false, fmt.Errorf("join the quorum: store %s of this node was given up for another one (%s): stop antlerd, move %s away, start antlerd, and see \"antlerctl node replace %s\"",
				a.identity.Incarnation, answer.GetKnownAs(), a.config.Dir, a.config.Self)
		}
	}

	return len(others) == 0, nil
}

// meetAll asks until every other voter has answered.
func (a *Authority) meetAll(ctx context.Context) (map[string]string, error) {
	for {
		roster, waiting, err := a.meet(ctx)
		if err != nil {
			return nil, err
		}

		if waiting == nil {
			return roster, nil
		}

		a.update(func() {
			a.reason = fmt.Sprintf("waiting for all voters before voting for the first time: %v", waiting)
			a.voteError = nil

			if errors.Is(waiting, errStoreLost) {
				a.voteError = waiting
			}
		})

		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(a.config.Timing.RenewInterval):
		}
	}
}

// meet asks all other voters once. waiting is why it must be tried again.
func (a *Authority) meet(ctx context.Context) (roster map[string]string, waiting, err error) {
	roster = map[string]string{a.config.Self: a.identity.Incarnation}

	for _, m := range a.voters() {
		if m.Name == a.config.Self {
			continue
		}

		answer, err := a.hello(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err), nil
		}

		if answer.GetClusterId() != a.config.ClusterID {
			return nil, nil, fmt.Errorf("join the quorum: %s belongs to cluster %s, this node to %s: correct the configuration of one of them", m.Name, answer.GetClusterId(), a.config.ClusterID)
		}

		if answer.GetTakenPart() && answer.GetKnownAs() != a.identity.Incarnation {
			return nil, fmt.Errorf("%w: %s remembers %s with store %s: %s", errStoreLost, m.Name, a.config.Self, answer.GetKnownAs(), replaceAdvice), nil
		}

		if answer.GetIncarnation() == "" {
			return nil, fmt.Errorf("%s has no usable store yet", m.Name), nil
		}

		roster[m.Name] = answer.GetIncarnation()
	}

	return roster, nil, nil
}

func (a *Authority) hello(ctx context.Context, m Member) (*antlerv1.HelloResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timing.RaftIO)
	defer cancel()

	voter, err := a.peers.call(m.Name)
	if err != nil {
		return nil, err
	}

	answer, err := voter.Hello(ctx, &antlerv1.HelloRequest{
		ClusterId:   a.config.ClusterID,
		Incarnation: a.identity.Incarnation,
	})
	if err != nil {
		voter.failed(err)

		return nil, fmt.Errorf("ask whether it knows this node: %w", err)
	}

	return answer, nil
}

// remember notes, before this node votes, with which stores the cluster began.
func (a *Authority) remember(roster map[string]string) error {
	a.writing.Lock()
	defer a.writing.Unlock()

	id := a.identity
	id.Roster = roster

	if err := id.save(a.config.Dir); err != nil {
		return fmt.Errorf("join the quorum: %w", err)
	}

	a.config.Logger.Info("taking part in the quorum for the first time", zap.Int("voters", len(roster)))
	a.update(func() { a.identity, a.reason, a.voteError = id, "", nil })

	return nil
}
