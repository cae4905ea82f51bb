package authority

import (
	"context"
	"fmt"
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

		return nil
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

		a.update(func() { a.reason = fmt.Sprintf("waiting for all voters before voting for the first time: %v", waiting) })

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
			return nil, nil, fmt.Errorf("join the quorum: %s remembers this node with another store, which is lost: %s", m.Name, replaceAdvice)
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

	client, err := a.peers.client(m.Name)
	if err != nil {
		return nil, err
	}

	answer, err := client.Hello(ctx, &antlerv1.HelloRequest{
		ClusterId:   a.config.ClusterID,
		Incarnation: a.identity.Incarnation,
	})
	if err != nil {
		a.peers.drop(m.Name)

		return nil, fmt.Errorf("ask whether it knows this node: %w", err)
	}

	return answer, nil
}

// remember notes, before this node votes, with which stores the cluster began.
func (a *Authority) remember(roster map[string]string) error {
	id := a.identity
	id.Roster = roster

	if err := id.save(a.config.Dir); err != nil {
		return fmt.Errorf("join the quorum: %w", err)
	}

	a.config.Logger.Info("taking part in the quorum for the first time", zap.Int("voters", len(roster)))
	a.update(func() { a.identity, a.reason = id, "" })

	return nil
}
