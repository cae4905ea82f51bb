package node

import "time"

// deadman decides when a node that may not serve any more, and doesn't stop,
// is reset. It is a pure function of what it is told and of the clock.
type deadman struct {
	// deadline from the loss of the lease until mfsmaster can't answer.
	deadline time.Duration
	// lost is when the lease was first seen lost while serving; zero otherwise.
	lost time.Time
}

// verdict says whether to reset now and, if not, how long until it must be
// asked again (zero: only when something changes). until is the end of the lease.
// Serving means that an mfsmaster which could still answer a client runs on this
// node.
func (d *deadman) verdict(now, until time.Time, serving bool) (reset bool, again time.Duration) {
	if !serving {
		d.lost = time.Time{}

		return false, 0
	}

	if now.Before(until) {
		d.lost = time.Time{}

		return false, until.Sub(now)
	}

	if d.lost.IsZero() {
		d.lost = now
	}

	left := d.deadline - now.Sub(d.lost)
	if left > 0 {
		return false, left
	}

	return true, 0
}
