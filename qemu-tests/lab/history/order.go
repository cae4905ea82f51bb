package history

import (
	"slices"
	"time"
)

// acknowledgedAt returns the moments of all acknowledgements, in order.
func acknowledgedAt(ops []Op) []int64 {
	var ends []int64

	for _, op := range ops {
		if op.Acknowledged() {
			ends = append(ends, op.End)
		}
	}

	slices.Sort(ends)

	return ends
}

// FirstAcknowledged returns when the first operation that began after t was
// acknowledged; zero when none was.
func FirstAcknowledged(ops []Op, t time.Time) time.Time {
	var first int64

	for _, op := range ops {
		if op.Acknowledged() && op.Start >= t.UnixNano() && (first == 0 || op.End < first) {
			first = op.End
		}
	}

	if first == 0 {
		return time.Time{}
	}

	return time.Unix(0, first)
}
