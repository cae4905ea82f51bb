package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"text/tabwriter"
	"time"
)

// Moment is a line of a timeline.
type Moment struct {
	// After is the time since the fault.
	After time.Duration
	Node  string
	What  string
}

// MarshalJSON gives After in milliseconds.
func (m Moment) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		AfterMS int64  `json:"after_ms"`
		Node    string `json:"node,omitempty"`
		What    string `json:"what"`
	}{m.After.Milliseconds(), m.Node, m.What})
}

// Timeline puts events in order, counted from zero.
func Timeline(zero time.Time, events []Event) []Moment {
	moments := make([]Moment, 0, len(events))

	for _, event := range events {
		what := event.Kind
		if event.Message != "" {
			what += ": " + event.Message
		}

		moments = append(moments, Moment{After: event.Time.Sub(zero), Node: event.Node, What: what})
	}

	sort.SliceStable(moments, func(i, j int) bool { return moments[i].After < moments[j].After })

	return moments
}

// PrintTimeline prints it as a table.
func PrintTimeline(w io.Writer, moments []Moment) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)

	for _, m := range moments {
		fmt.Fprintf(table, "%+.3f s\t%s\t  %s\n", m.After.Seconds(), m.Node, m.What)
	}

	table.Flush()
}
