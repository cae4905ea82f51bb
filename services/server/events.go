package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// EventsKept is how many events a node keeps: a failover makes about twenty.
const EventsKept = 2000

// EventPrefix begins an event's line in the journal and on the console.
const EventPrefix = "antler-event: "

// Event is something that happened on a node.
type Event struct {
	// Time by the node's clock; no two events of a node have the same.
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// Sequence counts from 1 at antlerd's start.
	Sequence uint64 `json:"sequence"`
	// Kind is one of Kinds.
	Kind    string `json:"kind"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Message string `json:"message"`
}

// EventLog keeps a node's last events and tells them to whoever watches.
type EventLog struct {
	node string
	now  func() time.Time

	mu   sync.Mutex
	last Event
	ring []Event
	// changed is closed and replaced with each event.
	changed chan struct{}
}

// NewEventLog returns the empty log of the node.
func NewEventLog(node string, now func() time.Time) *EventLog {
	return &EventLog{node: node, now: now, changed: make(chan struct{})}
}

// Emit records an event. It never waits: a takeover must not hang on a slow
// console.
func (l *EventLog) Emit(kind string, epoch uint64, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	// A clock that was set back must not hide events from those who ask for what
	// happened since the last one they saw.
	at := l.now().Round(0)
	if !at.After(l.last.Time) {
		at = l.last.Time.Add(time.Nanosecond)
	}

	l.last = Event{Time: at, Node: l.node, Sequence: l.last.Sequence + 1, Kind: kind, Epoch: epoch, Message: message}

	if len(l.ring) == EventsKept {
		l.ring = append(l.ring[:0], l.ring[1:]...)
	}

	l.ring = append(l.ring, l.last)

	close(l.changed)
	l.changed = make(chan struct{})
}

// Last returns the last event of the kind in the epoch, if it is still kept.
func (l *EventLog) Last(kind string, epoch uint64) (Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()

	for i := len(l.ring) - 1; i >= 0; i-- {
		if l.ring[i].Kind == kind && l.ring[i].Epoch == epoch {
			return l.ring[i], true
		}
	}

	return Event{}, false
}

// Total is the number of events since the start.
func (l *EventLog) Total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.last.Sequence
}

// after returns the kept events that follow sequence, and what is closed when
// there are more.
func (l *EventLog) after(sequence uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()

	first := len(l.ring)
	for first > 0 && l.ring[first-1].Sequence > sequence {
		first--
	}

	return append([]Event(nil), l.ring[first:]...), l.changed
}

// Query chooses events.
type Query struct {
	// Since leaves out older ones; zero leaves out none.
	Since time.Time
	// Tail leaves out all but the last past ones; 0 leaves out none.
	Tail int
	// Follow goes on with new ones.
	Follow bool
}

// Watch gives the chosen events to each, in order, until there are no more, ctx
// ends or each fails. A watcher slower than EventsKept events misses some: the
// sequence shows it.
func (l *EventLog) Watch(ctx context.Context, q Query, each func(Event) error) error {
	past, changed := l.after(0)

	var seen uint64

	for len(past) > 0 && past[0].Time.Before(q.Since) {
		seen = past[0].Sequence
		past = past[1:]
	}

	if q.Tail > 0 && len(past) > q.Tail {
		past = past[len(past)-q.Tail:]
	}

	for {
		for _, event := range past {
			err := each(event)
			if err != nil {
				return err
			}

			seen = event.Sequence
		}

		if !q.Follow {
			return nil
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}

		past, changed = l.after(seen)
	}
}

// Print writes each event as a line of its own to w until ctx ends, and then
// what is left.
func (l *EventLog) Print(ctx context.Context, w io.Writer) error {
	var seen uint64

	for {
		events, changed := l.after(seen)

		for _, event := range events {
			line, err := json.Marshal(event)
			if err != nil {
				return fmt.Errorf("encode event %s: %w", event.Kind, err)
			}

			_, err = fmt.Fprintf(w, "%s%s\n", EventPrefix, line)
			if err != nil {
				return fmt.Errorf("print event %s: %w", event.Kind, err)
			}

			seen = event.Sequence
		}

		select {
		case <-changed:
			continue
		default:
		}

		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
