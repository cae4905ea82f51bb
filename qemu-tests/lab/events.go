package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"antler/qemu-tests/lab/history"
)

// Event is what antlerd prints of an event on the console.
type Event struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Kind    string    `json:"kind"`
	Epoch   uint64    `json:"epoch"`
	Message string    `json:"message"`
}

const eventPrefix = "antler-event: "

// ParseEvent finds an event in a line of the console.
func ParseEvent(line string) (Event, bool) {
	_, text, found := strings.Cut(line, eventPrefix)
	if !found {
		return Event{}, false
	}

	var event Event

	err := json.Unmarshal([]byte(text), &event)

	return event, err == nil
}

// Events returns the events on the machine's console from line from on, in the
// host's time: that of the line, since guests' clocks differ.
func (c *Console) Events(from int) []Event {
	var events []Event

	for _, line := range c.Lines(from) {
		event, ok := ParseEvent(line.Text)
		if ok {
			event.Time = line.At
			events = append(events, event)
		}
	}

	return events
}

// AwaitEvent waits until the machine tells of it, from line from of its console on.
func AwaitEvent(ctx context.Context, m *Machine, from int, kind string) error {
	_, err := m.console.Wait(ctx, from, func(line string) bool {
		event, ok := ParseEvent(line)

		return ok && event.Kind == kind
	})
	if err != nil {
		return fmt.Errorf("wait for %s of %s: %w", kind, m.Name, err)
	}

	return nil
}

// stamped is a line of the kernel's, or of a service on its console: seconds since the
// start.
var stamped = regexp.MustCompile(`\[ *(\d+\.\d+)\] `)

// resets are the moments at which the machine has started anew, with or without a word:
// the stamps of its kernel begin again. antlerd's own event, node.fence, may not get out
// before it, and a watchdog says nothing.
func (c *Console) resets(from int, node string) []Event {
	var (
		events []Event
		last   time.Duration
	)

	for _, line := range c.Lines(from) {
		found := stamped.FindStringSubmatch(line.Text)
		if found == nil {
			continue
		}

		stamp, err := time.ParseDuration(found[1] + "s")
		if err != nil {
			continue
		}

		// Lines of two processors may change places.
		if stamp+time.Second < last {
			events = append(events, Event{Time: line.At.Add(-stamp), Node: node, Kind: resetKind, Message: "the machine starts anew"})
		}

		last = stamp
	}

	return events
}

// Serving is an interval in which a node's master could accept writes.
type Serving struct {
	Node     string
	Epoch    uint64
	From, To time.Time
}

// ServingIntervals finds in the events of one node, in order, when its master
// could accept writes: from its start until it was stopped or killed, or its
// replica lost the primary role, or the machine lost its power, or nobody is there any
// more who could tell (a zero To means that it still serves).
func ServingIntervals(events []Event) []Serving {
	var (
		intervals []Serving
		open      *Serving
	)

	end := func(at time.Time) {
		if open != nil {
			open.To = at
			intervals = append(intervals, *open)
			open = nil
		}
	}

	for _, event := range events {
		switch event.Kind {
		case "metadata.master-started":
			if open == nil {
				open = &Serving{Node: event.Node, Epoch: event.Epoch, From: event.Time}
			}
		case "metadata.master-stopped", "metadata.master-killed", "replication.demoted", "node.fence", powerCutKind, resetKind, silentKind:
			end(event.Time)
		}
	}

	if open != nil {
		intervals = append(intervals, *open)
	}

	return intervals
}

// The lab's own events.
const (
	powerCutKind = "lab.power-cut"
	resetKind    = "lab.reset"
	silentKind   = "lab.antlerd-stopped"
)

// Overlaps returns what is wrong with the intervals of all nodes: two of
// different nodes at the same time, or an epoch served by two.
func Overlaps(intervals []Serving) []string {
	var problems []string

	sort.Slice(intervals, func(i, j int) bool { return intervals[i].From.Before(intervals[j].From) })

	for i, a := range intervals {
		for _, b := range intervals[i+1:] {
			if a.Node == b.Node {
				continue
			}

			if a.Epoch == b.Epoch {
				problems = append(problems, fmt.Sprintf("epoch %d was served by %s and by %s", a.Epoch, a.Node, b.Node))
			}

			if a.To.IsZero() || a.To.After(b.From) {
				problems = append(problems, fmt.Sprintf("%s served in epoch %d until %s, %s in epoch %d from %s",
					a.Node, a.Epoch, clock(a.To), b.Node, b.Epoch, clock(b.From)))
			}
		}
	}

	return problems
}

// LateStops returns the masters that still ran when another node was granted the
// next epoch. The table of times promises that there are none as long as antlerd
// runs; writes are safe all the same, since DRBD freezes them.
func LateStops(events []Event, intervals []Serving) []string {
	grants := map[uint64]Event{}

	for _, event := range events {
		// A node tells again of a grant when it is started.
		if first, known := grants[event.Epoch]; event.Kind == "authority.granted" && (!known || event.Time.Before(first.Time)) {
			grants[event.Epoch] = event
		}
	}

	var late []string

	for _, grant := range grants {
		for _, s := range intervals {
			over := s.To.Sub(grant.Time)
			if s.Node == grant.Node || s.Epoch >= grant.Epoch || s.From.After(grant.Time) || !s.To.IsZero() && over <= 0 {
				continue
			}

			late = append(late, fmt.Sprintf("epoch %d was granted to %s at %s, while the master of %s ran until %s",
				grant.Epoch, grant.Node, clock(grant.Time), s.Node, clock(s.To)))
		}
	}

	sort.Strings(late)

	return late
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "now"
	}

	return t.Format("15:04:05.000")
}

func sortEvents(events []Event) {
	sort.SliceStable(events, func(i, j int) bool { return events[i].Time.Before(events[j].Time) })
}

// masterDied are the events of a master that ended without a hand-over. A node
// whose master wouldn't die in time resets itself, and tells of nothing more.
var masterDied = []string{"metadata.master-killed", "metadata.master-stopped", resetKind}

// MasterDeaths returns when masters died since the marks, for whatever reason: a
// machine that gets too little time loses its lease without a fault of ours.
func (c *Cluster) MasterDeaths(marks map[string]int) []history.Window {
	var deaths []history.Window

	for _, m := range c.Machines {
		from := marks[m.Name]

		for _, event := range append(m.console.Events(from), m.console.resets(from, m.Name)...) {
			if slices.Contains(masterDied, event.Kind) {
				deaths = append(deaths, history.Window{From: event.Time, To: event.Time})
			}
		}
	}

	return deaths
}
