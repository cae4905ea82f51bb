package authority

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// renewals are this node's to the leader, one after the other on a stream: a call for
// each would be most of what an idle node has to do. It isn't safe for concurrent use.
type renewals struct {
	authority *Authority
	// call has the stream's connection; nil where no stream is open.
	call   *call
	stream antlerv1.PeerService_RenewStreamClient
	end    context.CancelFunc
}

// ask the node, with a request that may arrive twice.
func (r *renewals) ask(ctx context.Context, to string, request *antlerv1.RenewRequest) (*antlerv1.RenewResponse, error) {
	ctx, cancel := r.authority.peers.untilLeaderMoves(ctx, r.authority.config.Timing.RenewTimeout)
	defer cancel()

	if to == r.authority.config.Self {
		r.hangUp()

		return r.authority.answerRenew(ctx, to, request)
	}

	if r.call != nil && r.call.name == to {
		answer, err := r.exchange(ctx, request)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		// It hung up after the last one, which says nothing about now.
	}

	if err := r.open(ctx, to); err != nil {
		return nil, err
	}

	one := r.call

	answer, err := r.exchange(ctx, request)
	if status.Code(err) == codes.Unimplemented {
		return one.Renew(ctx, request) // antlerd there is older
	}

	return answer, err
}

// open a stream to the node.
func (r *renewals) open(ctx context.Context, to string) error {
	r.hangUp()

	call, err := r.authority.peers.call(to)
	if err != nil {
		return err
	}

	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, end)()

	stream, err := call.RenewStream(life)
	if err != nil {
		end()

		return fmt.Errorf("renew at %s: %w", to, err)
	}

	r.call, r.stream, r.end = call, stream, end

	return nil
}

// exchange sends a renewal and waits for its answer. After an error no stream is open.
func (r *renewals) exchange(ctx context.Context, request *antlerv1.RenewRequest) (*antlerv1.RenewResponse, error) {
	defer context.AfterFunc(ctx, r.end)()

	err := r.stream.Send(&antlerv1.RenewStreamRequest{Renew: request})

	var answer *antlerv1.RenewStreamResponse
	if err == nil || errors.Is(err, io.EOF) { // the answer says why
		answer, err = r.stream.Recv()
	}

	if err == nil {
		r.call.ready = true

		return answer.GetRenew(), nil
	}

	if ctx.Err() != nil {
		err = status.FromContextError(ctx.Err()).Err()
	}

	r.call.failed(err)
	err = fmt.Errorf("renew at %s: %w", r.call.name, err)
	r.hangUp()

	return nil, err
}

// hangUp ends the stream, if one is open.
func (r *renewals) hangUp() {
	if r.call != nil {
		r.end()
	}

	r.call, r.stream, r.end = nil, nil, nil
}
