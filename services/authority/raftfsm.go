package authority

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// replicated is the record as Raft applies it on this voter.
type replicated struct {
	// changed is called after each change, without the lock held.
	changed func()

	mu    sync.Mutex
	state State
	index uint64
}

var _ raft.FSM = (*replicated)(nil)

// outcome is what Apply returns through Raft's future.
type outcome struct {
	state State
	index uint64
	err   error
}

// Apply implements raft.FSM.
func (r *replicated) Apply(entry *raft.Log) any {
	out := r.apply(entry)
	r.changed()

	return out
}

func (r *replicated) apply(entry *raft.Log) outcome {
	c, err := DecodeCommand(entry.Data)

	r.mu.Lock()
	defer r.mu.Unlock()

	r.index = entry.Index

	// A grant is proposed by a leader that knows, in its memory, that the last
	// lease is over. If it lost the leadership and won it again before the
	// proposal got into the log, others may have extended that lease between.
	if err == nil && grants(c.Kind) && c.Term != entry.Term {
		err = reject(ErrStaleTerm, "%s of epoch %d to %s was decided in Raft term %d, this is %d", c.Kind, c.Epoch, c.Node, c.Term, entry.Term)
	}

	if err == nil {
		r.state, err = r.state.Apply(c)
	}

	return outcome{state: r.state, index: r.index, err: err}
}

// grants reports whether a command of the kind makes somebody the holder.
func grants(k Kind) bool { return k == KindGrant || k == KindForceGrant || k == KindRestore }

// read returns the record and the index of the last command in it.
func (r *replicated) read() (State, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.state, r.index
}

// Snapshot implements raft.FSM.
func (r *replicated) Snapshot() (raft.FSMSnapshot, error) {
	state, index := r.read()

	raw, err := EncodeState(state, index)
	if err != nil {
		return nil, err
	}

	return encoded(raw), nil
}

// Restore implements raft.FSM.
func (r *replicated) Restore(from io.ReadCloser) error {
	raw, err := io.ReadAll(from)
	if err := errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("restore the record: %w", err)
	}

	state, index, err := DecodeState(raw)
	if err != nil {
		return err
	}

	r.mu.Lock()
	r.state, r.index = state, index
	r.mu.Unlock()

	r.changed()

	return nil
}

// encoded is a snapshot on its way to the disk.
type encoded []byte

// Persist implements raft.FSMSnapshot.
func (e encoded) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(e); err != nil {
		return errors.Join(fmt.Errorf("write a snapshot of the record: %w", err), sink.Cancel())
	}

	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (encoded) Release() {}
