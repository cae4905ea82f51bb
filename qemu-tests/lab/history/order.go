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

// GapAround is LongestGap from the last acknowledgement before t on.
func GapAround(ops []Op, t time.Time) time.Duration {
	ends := acknowledgedAt(ops)
	after, _ := slices.BinarySearch(ends, t.UnixNano())

	var longest time.Duration
	for i := max(after, 1); i < len(ends); i++ {
		longest = max(longest, time.Duration(ends[i]-ends[i-1]))
	}

	return longest
}

// AcknowledgedAfter returns when the next acknowledgement after t was, of whatever
// had begun by then; zero when there was none.
func AcknowledgedAfter(ops []Op, t time.Time) time.Time {
	ends := acknowledgedAt(ops)

	i, _ := slices.BinarySearch(ends, t.UnixNano())
	if i == len(ends) {
		return time.Time{}
	}

	return time.Unix(0, ends[i])
}
