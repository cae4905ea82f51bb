package lab

import (
	"fmt"
	"slices"
	"time"
)

// Step of a failover. It is over with the first event of one of the kinds.
type Step struct {
	Name  string
	Kinds []string
	// MayMiss says that a failover can do without; then it took no time.
	MayMiss bool
}

// StepTimes returns how long each step took, the first from zero on and each other
// from the end of the one before. The nodes' consoles are read by turns: an event
// that seems to be older than the one before took no time.
func StepTimes(zero time.Time, events []Event, steps []Step) ([]time.Duration, error) {
	events = slices.Clone(events)
	sortEvents(events)

	times := make([]time.Duration, 0, len(steps))
	last := zero

	for _, step := range steps {
		i := slices.IndexFunc(events, func(e Event) bool {
			return slices.Contains(step.Kinds, e.Kind) && !e.Time.Before(zero)
		})
		if i < 0 && step.MayMiss {
			times = append(times, 0)

			continue
		}

		if i < 0 {
			return nil, fmt.Errorf("step %q has not ended: there is none of the events %v", step.Name, step.Kinds)
		}

		at := events[i].Time
		times = append(times, max(0, at.Sub(last)))

		if at.After(last) {
			last = at
		}
	}

	return times, nil
}

// Median and worst of some times; zero if there are none.
func Median(times []time.Duration) (median, worst time.Duration) {
	if len(times) == 0 {
		return 0, 0
	}

	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2

	median = sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}

	return median, sorted[len(sorted)-1]
}
