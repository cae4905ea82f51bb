package authority

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// calmTransport is Raft's, whose heartbeats are most of what an idle cluster's processors
// would be busy with: one each tenth to fifth of the heartbeat timeout. But every node
// sends renewals and gets answers, which tell as much:
//
//   - A voter says in its renewal in which term its Raft follows the leader. The
//     heartbeat to it that waits to be sent is answered with that.
//   - The answer to a renewal says in which term who leads. The voter's Raft hears it as
//     a heartbeat.
//
// Where no renewals come, a heartbeat leaves `every` after the last.
//
// What is answered in this way was said at some time since the last renewal. For Raft's
// own use of it, which is whether the leader has contact, that is as good as a heartbeat.
// It isn't for raft.VerifyLeader, which takes it for said since it was asked: see confirm.
type calmTransport struct {
	*raft.NetworkTransport

	every time.Duration
	// send a heartbeat over the network.
	send func(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error
	// ended ends the pauses of a Raft that is to end.
	ended <-chan struct{}
	// leads reports whether this node still leads in the term. It is set once there is a
	// Raft to ask.
	leads atomic.Pointer[func(term uint64) bool]

	mu sync.Mutex
	// last contact with a node that counted as a heartbeat's.
	last map[raft.ServerID]time.Time
	held map[raft.ServerID]*heldBack

	// hearing is held while this node's Raft hears a heartbeat that came with an answer.
	hearing sync.Mutex
	hear    func(raft.RPC)
}

// heldBack is a heartbeat that waits; answered is closed when the node has said in
// another way that it follows in the heartbeat's term.
type heldBack struct {
	term     uint64
	answered chan struct{}
}

var (
	_ raft.Transport   = (*calmTransport)(nil)
	_ raft.WithPreVote = (*calmTransport)(nil)
	_ raft.WithClose   = (*calmTransport)(nil)
)

func newCalmTransport(t *raft.NetworkTransport, every time.Duration, ended <-chan struct{}) *calmTransport {
	return &calmTransport{
		NetworkTransport: t, every: every, send: t.AppendEntries, ended: ended,
		last: map[raft.ServerID]time.Time{}, held: map[raft.ServerID]*heldBack{},
	}
}

// AppendEntries implements raft.Transport.
func (t *calmTransport) AppendEntries(
	id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse,
) error {
	if !isHeartbeat(request) {
		return t.NetworkTransport.AppendEntries(id, target, request, response)
	}

	answered, err := t.pause(id, request.Term)
	if err != nil {
		return err
	}

	if answered {
		*response = raft.AppendEntriesResponse{Term: request.Term, Success: true}

		return nil
	}

	err = t.send(id, target, request, response)
	if err != nil {
		t.forget(id) // Raft's own pauses after a failure are enough
	}

	return err
}

// isHeartbeat: the same as Raft's own transport takes for one.
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return len(r.Entries) == 0 && r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && r.LeaderCommitIndex == 0
}

// errOver is no fault: a heartbeat that was held back is not sent.
var errOver = errors.New("this term is over")

// pause until the next heartbeat to the node is due, or answered. One of a term that
// ended meanwhile must not leave: it would keep others from electing a leader.
func (t *calmTransport) pause(id raft.ServerID, term uint64) (answered bool, err error) {
	due, held := t.hold(id, term)

	timer := time.NewTimer(due)
	defer timer.Stop()

	select {
	case <-timer.C:
	case <-held.answered:
	case <-t.ended:
		return false, errOver
	}

	if leads := t.leads.Load(); leads != nil && !(*leads)(term) {
		return false, errOver
	}

	return t.letGo(id, held), nil
}

// hold a heartbeat to the node back until it is due.
func (t *calmTransport) hold(id raft.ServerID, term uint64) (due time.Duration, held *heldBack) {
	t.mu.Lock()
	defer t.mu.Unlock()

	held = &heldBack{term, make(chan struct{})}
	t.held[id] = held

	return t.every - time.Since(t.last[id]), held
}

// letGo of a heartbeat, and report whether it was answered already.
func (t *calmTransport) letGo(id raft.ServerID, held *heldBack) (answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()

	select {
	case <-held.answered:
		return true
	default:
	}

	delete(t.held, id)
	t.last[id] = time.Now()

	return false
}

// follows takes note of a node's word that it follows this one in the term.
func (t *calmTransport) follows(id raft.ServerID, term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if held := t.held[id]; held != nil && held.term == term {
		delete(t.held, id)
		t.last[id] = time.Now()

		close(held.answered)
	}
}

// forget the last heartbeat to the node: the next leaves at once.
func (t *calmTransport) forget(id raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()

	delete(t.last, id)
}

// SetHeartbeatHandler implements raft.Transport.
func (t *calmTransport) SetHeartbeatHandler(handler func(raft.RPC)) {
	t.hearing.Lock()
	t.hear = handler
	t.hearing.Unlock()

	t.NetworkTransport.SetHeartbeatHandler(handler)
}

// heard is for what a leader says in an answer to a renewal.
func (t *calmTransport) heard(heartbeat *raft.AppendEntriesRequest) {
	t.hearing.Lock()
	defer t.hearing.Unlock()

	if t.hear != nil {
		t.hear(raft.RPC{Command: heartbeat, RespChan: make(chan raft.RPCResponse, 1)})
	}
}

// deaf is this node's Raft from here on to what comes with answers.
func (t *calmTransport) deaf() {
	t.hearing.Lock()
	defer t.hearing.Unlock()

	t.hear = nil
}
