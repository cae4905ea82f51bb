package authority

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// Caller tells who makes a call: the name in a node's certificate. It returns a
// gRPC status error for everybody who isn't a node of this cluster.
type Caller func(ctx context.Context) (node string, err error)

// PeerServer is the PeerService of this node.
type PeerServer struct {
	antlerv1.UnimplementedPeerServiceServer

	authority *Authority
	caller    Caller
}

// PeerServer returns the service for the other nodes. caller is asked on every
// call.
func (a *Authority) PeerServer(caller Caller) *PeerServer {
	return &PeerServer{authority: a, caller: caller}
}

// node returns the caller if it is a member.
func (p *PeerServer) node(ctx context.Context) (string, error) {
	name, err := p.caller(ctx)
	if err != nil {
		return "", err
	}

	if _, ok := p.authority.peers.members[name]; !ok {
		return "", status.Errorf(codes.PermissionDenied, "node %q is not a member in the configuration of %s", name, p.authority.config.Self)
	}

	return name, nil
}

// Hello implements antlerv1.PeerServiceServer.
func (p *PeerServer) Hello(ctx context.Context, _ *antlerv1.HelloRequest) (*antlerv1.HelloResponse, error) {
	from, err := p.node(ctx)
	if err != nil {
		return nil, err
	}

	a := p.authority

	a.mu.Lock()
	defer a.mu.Unlock()

	return &antlerv1.HelloResponse{
		ClusterId:   a.config.ClusterID,
		Incarnation: a.identity.Incarnation,
		TakenPart:   a.identity.Roster != nil,
		KnownAs:     a.identity.Roster[from],
	}, nil
}

// Renew implements antlerv1.PeerServiceServer.
func (p *PeerServer) Renew(ctx context.Context, r *antlerv1.RenewRequest) (*antlerv1.RenewResponse, error) {
	from, err := p.node(ctx)
	if err != nil {
		return nil, err
	}

	answer, err := p.authority.answerRenew(ctx, from, r)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}

	return answer, nil
}

// RenewStream implements antlerv1.PeerServiceServer. It ends when this node's part in the
// authority does: a server that is to stop would wait for it.
func (p *PeerServer) RenewStream(stream antlerv1.PeerService_RenewStreamServer) error {
	from, err := p.node(stream.Context())
	if err != nil {
		return err
	}

	hungUp := make(chan error, 1)

	go func() { hungUp <- p.renewals(from, stream) }()

	select {
	case err := <-hungUp:
		return err
	case <-p.authority.over:
		return status.Error(codes.Unavailable, "antlerd stops")
	}
}

// renewals answers one after the other until the sender hangs up.
func (p *PeerServer) renewals(from string, stream antlerv1.PeerService_RenewStreamServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		answer, err := p.authority.answerRenew(stream.Context(), from, request.GetRenew())
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}

		if err := stream.Send(&antlerv1.RenewStreamResponse{Renew: answer}); err != nil {
			return err
		}
	}
}

// Propose implements antlerv1.PeerServiceServer.
func (p *PeerServer) Propose(ctx context.Context, r *antlerv1.ProposeRequest) (*antlerv1.ProposeResponse, error) {
	from, err := p.node(ctx)
	if err != nil {
		return nil, err
	}

	answer, err := p.authority.answerPropose(ctx, from, r)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}

	return answer, nil
}

// ReplaceStore implements antlerv1.PeerServiceServer.
func (p *PeerServer) ReplaceStore(ctx context.Context, r *antlerv1.ReplaceStoreRequest) (*antlerv1.ReplaceStoreResponse, error) {
	if _, err := p.node(ctx); err != nil {
		return nil, err
	}

	answer, err := p.authority.answerReplace(ctx, r)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}

	return answer, nil
}

// AcceptStore implements antlerv1.PeerServiceServer.
func (p *PeerServer) AcceptStore(ctx context.Context, r *antlerv1.AcceptStoreRequest) (*antlerv1.AcceptStoreResponse, error) {
	if _, err := p.node(ctx); err != nil {
		return nil, err
	}

	if err := p.authority.accept(r.GetNode(), r.GetIncarnation()); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}

	return &antlerv1.AcceptStoreResponse{}, nil
}

// answerPropose carries a command to the quorum, if this node leads and the
// caller may say it.
func (a *Authority) answerPropose(ctx context.Context, from string, r *antlerv1.ProposeRequest) (*antlerv1.ProposeResponse, error) {
	l, leader := a.leadership()
	if l == nil {
		return &antlerv1.ProposeResponse{NotLeader: true, Leader: leader}, nil
	}

	out := l.submit(ctx, from, r.GetCommand())
	answer := &antlerv1.ProposeResponse{Index: out.index, Record: recordToWire(out.state)}

	if rejection := (*Rejection)(nil); errors.As(out.err, &rejection) {
		answer.RejectionCode, answer.RejectionDetail = string(rejection.Code), rejection.Detail

		return answer, nil
	}

	if errors.Is(out.err, errNotLeader) {
		return &antlerv1.ProposeResponse{NotLeader: true}, nil
	}

	return answer, out.err
}

// submit checks what only the leader can: who says it, and the lease.
func (l *leadership) submit(ctx context.Context, from string, raw []byte) outcome {
	c, err := DecodeCommand(raw)
	if err == nil {
		err = l.admit(from, c)
	}

	if err != nil {
		record, index := l.quorum.record.read()

		return outcome{state: record, index: index, err: err}
	}

	if c.Kind == KindForceGrant || c.Kind == KindRestore {
		c.Term = l.term

		return l.forced(ctx, c)
	}

	return l.applyRaw(ctx, raw)
}

// admit lets a node speak only for itself, nobody but this leader's own loop
// consent or grant, and nobody force a grant while a lease may be valid.
func (l *leadership) admit(from string, c Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()

	record, _ := l.quorum.record.read()

	switch c.Kind {
	case KindConsent, KindGrant, KindClearTarget, KindReplaceStore:
		return reject(ErrNotHolder, "%s is decided by the leader of the quorum, not proposed by %s", c.Kind, from)
	case KindForceGrant, KindRestore:
		if !l.lease.MayGrant(l.now(), record) {
			return reject(ErrLeaseRunning, "%s epoch %d on %s: %s may still serve: stop it first, or try again in %s", c.Kind, c.Epoch, c.Node, record.Holder, l.timing.GrantWait)
		}

		// With another epoch the record will reject it.
		l.lease.Close(c.Epoch - 1)

		return nil
	case KindSetTarget, KindAcceptVersion, KindDiscard:
		return nil
	}

	if c.Node != from {
		return reject(ErrNotHolder, "%s for %s can't be proposed by %s", c.Kind, c.Node, from)
	}

	if c.Kind == KindRelease && !l.lease.Release(c.Epoch, c.Run) {
		return reject(ErrStaleRun, "release epoch %d: antlerd on %s was started again since it said so", c.Epoch, from)
	}

	return nil
}

// forced is a grant by a person's word; see grant.
func (l *leadership) forced(ctx context.Context, c Command) outcome {
	// The caller may hang up. The outcome must be heard all the same: while it is
	// unknown the epoch stays closed, and its holder gets no renewal for the rest of
	// the term. Only a state machine that is stuck takes longer than this.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forcedTimeouts*l.timing.ApplyTimeout)
	defer cancel()

	out := l.apply(ctx, c)
	l.reopenIfRefused(c.Epoch-1, out.err)

	return out
}

// forcedTimeouts is how many times ApplyTimeout the outcome of a forced grant is waited
// for: a command waits that long at most to be taken in, and a leader without a quorum
// learns sooner that it leads no more.
const forcedTimeouts = 3
