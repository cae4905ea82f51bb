package authority

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// calmTransport is Raft's, which sends a heartbeat each tenth to fifth of its heartbeat
// timeout. That many are most of what an idle cluster's processors are busy with, and
// each renewal of the lease is confirmed by heartbeats anyway. Here one that nobody
// waits for leaves `every` after the last.
//
// A heartbeat is held back before it is sent, never answered for another node: what
// Raft concludes from an answer is as true as ever.
type calmTransport struct {
	*raft.NetworkTransport

	every time.Duration
	// ended ends the pauses of a Raft that is to end.
	ended <-chan struct{}
	// leads reports whether this node still leads in the term. It is set once there is a
	// Raft to ask.
	leads atomic.Pointer[func(term uint64) bool]

	mu   sync.Mutex
	sent map[raft.ServerID]time.Time
	// verifying counts those who wait for heartbeats; asked is closed while there are any.
	verifying int
	asked     chan struct{}
}

var (
	_ raft.Transport   = (*calmTransport)(nil)
	_ raft.WithPreVote = (*calmTransport)(nil)
	_ raft.WithClose   = (*calmTransport)(nil)
)

func newCalmTransport(t *raft.NetworkTransport, every time.Duration, ended <-chan struct{}) *calmTransport {
	return &calmTransport{
		NetworkTransport: t, every: every, ended: ended,
		sent: map[raft.ServerID]time.Time{}, asked: make(chan struct{}),
	}
}

// AppendEntries implements raft.Transport.
func (t *calmTransport) AppendEntries(
	id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse,
) error {
	if !isHeartbeat(request) {
		return t.NetworkTransport.AppendEntries(id, target, request, response)
	}

	if err := t.pause(id, request.Term); err != nil {
		return err
	}

	err := t.NetworkTransport.AppendEntries(id, target, request, response)
	if err != nil {
		t.forget(id) // Raft's own pauses after a failure are enough
	}

	return err
}

// isHeartbeat: the same as Raft's own transport takes for one.
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return len(r.Entries) == 0 && r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && r.LeaderCommitIndex == 0
}

// verify lets heartbeats go at once until done: somebody waits for a quorum's word.
func (t *calmTransport) verify() (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.verifying++; t.verifying == 1 {
		close(t.asked)
	}

	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()

		if t.verifying--; t.verifying == 0 {
			t.asked = make(chan struct{})
		}
	})
}

// registering is what Raft gets to note who waits, before the heartbeat leaves that is
// to answer it. One that left too early would be followed by another.
const registering = 5 * time.Millisecond

// errOver is no fault: a heartbeat that was held back is not sent.
var errOver = errors.New("this term is over")

// pause until the next heartbeat to the node is due, or asked for. One of a term that
// ended meanwhile must not leave: it would keep others from electing a leader.
func (t *calmTransport) pause(id raft.ServerID, term uint64) error {
	t.mu.Lock()
	due, asked := t.every-time.Since(t.sent[id]), t.asked
	t.mu.Unlock()

	timer := time.NewTimer(due)
	defer timer.Stop()

	select {
	case <-timer.C:
	case <-t.ended:
		return errOver
	case <-asked:
		time.Sleep(min(registering, max(due, 0)))
	}

	if leads := t.leads.Load(); leads != nil && !(*leads)(term) {
		return errOver
	}

	t.mu.Lock()
	defer t.mu.Unlock()

	t.sent[id] = time.Now()

	return nil
}

// forget the last heartbeat to the node: the next leaves at once.
func (t *calmTransport) forget(id raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()

	delete(t.sent, id)
}
