package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	antlerv1 "antler/api/antler/v1"
)

// proposeAgain is the pause before a proposal that reached no leader, or whose
// outcome is unknown, is made again.
const proposeAgain = 100 * time.Millisecond

// propose has a command applied. It returns nil as soon as done says that the
// record holds its effect, a Rejection if it was rejected, and the error of ctx
// when that ends first. Then it is unknown whether the command was, or will be,
// applied. A command is proposed again while its outcome is unknown, so it must
// be one that does no harm twice.
func (a *Authority) propose(ctx context.Context, c Command, done func(State) bool) error {
	raw, err := c.Encode()
	if err != nil {
		return err
	}

	last := errors.New("no leader is known")

	for {
		answer, err := a.proposeOnce(ctx, raw)
		if err == nil && answer.GetNotLeader() {
			err = errors.New("the quorum has no leader")
		}

		if err == nil {
			return a.proposed(answer, done)
		}

		if ctx.Err() == nil {
			last = err
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("%s in epoch %d: the quorum has not answered (%w): %w", c.Kind, c.Epoch, last, ctx.Err())
		case <-time.After(proposeAgain):
		}
	}
}

// proposeOnce asks the leader, and whom it names instead.
func (a *Authority) proposeOnce(ctx context.Context, raw []byte) (*antlerv1.ProposeResponse, error) {
	to := a.knownLeader()

	for range len(a.config.Members) {
		if to == "" {
			break
		}

		answer, err := a.callPropose(ctx, to, raw)
		if err != nil || !answer.GetNotLeader() || answer.GetLeader() == to {
			return answer, err
		}

		to = answer.GetLeader()
	}

	return &antlerv1.ProposeResponse{NotLeader: true}, nil
}

func (a *Authority) callPropose(ctx context.Context, to string, raw []byte) (*antlerv1.ProposeResponse, error) {
	ctx, cancel := a.peers.untilLeaderMoves(ctx, a.config.Timing.ApplyTimeout)
	defer cancel()

	request := &antlerv1.ProposeRequest{Command: raw}
	if to == a.config.Self {
		return a.answerPropose(ctx, to, request)
	}

	leader, err := a.peers.call(to)
	if err != nil {
		return nil, err
	}

	answer, err := leader.Propose(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("propose to %s: %w", to, err)
	}

	return answer, nil
}

// proposed takes over the record after the command, and says how it went.
func (a *Authority) proposed(answer *antlerv1.ProposeResponse, done func(State) bool) error {
	record := recordFromWire(answer.GetRecord())

	a.mu.Lock()
	a.learn(record, answer.GetIndex())
	a.mu.Unlock()

	if answer.GetRejectionCode() == "" || done(record) {
		return nil
	}

	return &Rejection{Code: Code(answer.GetRejectionCode()), Detail: answer.GetRejectionDetail()}
}
