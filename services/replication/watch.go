package replication

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// watch follows the kernel. When the program that tells it ends, what was known
// stays, and is told anew by the next.
type watch struct {
	// changed has something in it when there is something new.
	changed chan struct{}

	mu     sync.Mutex
	kernel kernel
	err    error
}

func newWatch() *watch { return &watch{changed: make(chan struct{}, 1)} }

// look returns the latest.
func (w *watch) look() kernel {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.kernel
}

// problem is why nothing new is known, or nil.
func (w *watch) problem() error {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.err
}

func (w *watch) set(k kernel, err error) {
	w.mu.Lock()
	w.kernel, w.err = k, err
	w.mu.Unlock()

	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Pauses before the watch is started again; a module that isn't loaded yet is
// loaded within moments.
const (
	watchPauseMin = 100 * time.Millisecond
	watchPauseMax = 2 * time.Second
)

func (w *watch) run(ctx context.Context, drbd DRBD, logger *zap.Logger) {
	pause := watchPauseMin

	for ctx.Err() == nil {
		// What is told is complete only at the end of the first listing: until then
		// the last state stands.
		last := w.look()
		fresh := kernel{connects: last.connects, compared: last.compared, splitBrain: last.splitBrain}

		err := drbd.Watch(ctx, func(line string) {
			e, ok := parseEvent(line)
			if !ok {
				return
			}

			fresh = fresh.apply(e)
			if fresh.known {
				pause = watchPauseMin
				w.set(fresh, nil)
			}
		})
		if ctx.Err() != nil {
			return
		}

		logger.Warn("watching DRBD ended", zap.Error(err))
		w.set(w.look(), err)

		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}

		pause = min(2*pause, watchPauseMax)
	}
}
