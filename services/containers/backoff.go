package containers

import "time"

const (
	// backoffMin is short enough that a daemon that crashes once is back
	// before a client notices; backoffMax keeps a broken one from filling the
	// log.
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
	// backoffForget: a process that ran this long had a good start.
	backoffForget = 10 * time.Second
)

// backoff is the pause before the next attempt: it doubles from backoffMin to
// backoffMax.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, backoffMin), backoffMax)

	return b.last
}

func (b *backoff) reset() { b.last = 0 }
