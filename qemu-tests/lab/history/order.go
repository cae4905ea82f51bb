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

// GapAround is LongestGap from the last acknowledgement before from to the first
// after to.
func GapAround(ops []Op, from, to time.Time) time.Duration {
	ends := acknowledgedAt(ops)
	first, _ := slices.BinarySearch(ends, from.UnixNano())

	var longest time.Duration

	for i := max(first, 1); i < len(ends) && ends[i-1] <= to.UnixNano(); i++ {
		longest = max(longest, time.Duration(ends[i]-waitedFrom(ops, ends[i-1], ends[i])))
	}

	return longest
}

// Since are the operations that ended after t, or have not ended.
func Since(ops []Op, t time.Time) []Op {
	return slices.DeleteFunc(slices.Clone(ops), func(op Op) bool { return op.Done && op.End < t.UnixNano() })
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

// Open reports whether an operation that began before t has no answer yet.
func Open(ops []Op, t time.Time) bool {
	return slices.ContainsFunc(ops, func(op Op) bool { return !op.Done && op.Start < t.UnixNano() })
}
