package volume

import (
	"context"
	"sync/atomic"
	"time"
)

// Calls runs functions that may hang in the kernel: a system call on a FUSE
// mount ends when mfsmount answers, and no signal but SIGKILL helps. The caller
// gets an error at the deadline; the function goes on in its goroutine and
// holds its slot until the kernel lets it go, so that no more than a few
// threads can ever be stuck.
type Calls struct {
	slots   chan struct{}
	timeout time.Duration
	running atomic.Int32
}

// NewCalls lets so many functions run at once, each for so long.
func NewCalls(slots int, timeout time.Duration) *Calls {
	return &Calls{slots: make(chan struct{}, slots), timeout: timeout}
}

// Run calls f and waits for it, but not longer than the deadline.
func Run[T any](ctx context.Context, c *Calls, doing string, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	type result struct {
		value T
		err   error
	}

	var none T

	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return none, failf(ErrUnavailable, "%s: %d calls to MooseFS hang: see whether it is mounted and a master serves", doing, c.running.Load())
	}

	// Room for one, so that a late result doesn't keep the goroutine.
	done := make(chan result, 1)

	c.running.Add(1)

	go func() {
		defer func() {
			c.running.Add(-1)
			<-c.slots
		}()

		value, err := f(ctx)
		done <- result{value, err}
	}()

	select {
	case r := <-done:
		return r.value, classify(doing, r.err)
	case <-ctx.Done():
		return none, failf(ErrUnavailable, "%s: no answer from MooseFS in time: try again when a master serves: %w", doing, ctx.Err())
	}
}
