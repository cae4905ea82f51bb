// Package clock keeps the wall clocks of a cluster together where nobody tells its nodes
// the time. A Raspberry Pi has none that goes on without power: after each start it
// begins where its system was built. MooseFS goes by the wall clock: a chunk that was
// written to at a time which is yet to come counts as locked until then (chunk_unlock in
// mfsmaster's chunks.c), so a failover to a node whose clock is a month behind would hold
// up every write to what was written in that month.
//
// So a clock never stays behind what the cluster has seen: another node's clock, or the
// last change of the metadata that is about to be served. It is only ever put forward,
// and not at all where something like NTP disciplines it.
package clock

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Tolerance is what clocks may differ by without being put right. MooseFS counts in
// seconds.
const Tolerance = time.Second

// Clock is the wall clock of this node. Its methods may be called from any goroutine.
type Clock struct {
	// Now by the wall clock.
	Now func() time.Time
	// Disciplined reports whether something keeps the clock right.
	Disciplined func() (bool, error)
	// Set the wall clock.
	Set func(time.Time) error
	// Limit is the last moment that is believed of others: this node's certificate is
	// good for no longer.
	Limit time.Time
	// Emit tells of a clock that was set.
	Emit   func(kind, message string)
	Logger *zap.Logger

	mu sync.Mutex
	// said is what was last logged of a clock that stays behind.
	said string
}

// New returns the system's clock.
func New(limit time.Time, emit func(kind, message string), logger *zap.Logger) *Clock {
	return &Clock{Now: time.Now, Disciplined: disciplined, Set: set, Limit: limit, Emit: emit, Logger: logger}
}

// Heard puts the clock forward if it is behind at, a time that has been somewhere: whose
// says where, in words for people.
func (c *Clock) Heard(whose string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()

	// Without its monotonic part, which knows nothing of clocks that are set.
	behind := at.Sub(c.Now().Round(0))
	if behind <= Tolerance {
		return
	}

	if why := c.follow(at); why != "" {
		if why != c.said {
			c.Logger.Warn("the clock is behind, and stays so", zap.String("than", whose), zap.Duration("by", behind), zap.String("why", why))
		}

		c.said = why

		return
	}

	c.said = ""
	c.Emit("clock.set", fmt.Sprintf("the clock was %s behind %s, and nothing like NTP keeps it right: it was put forward", behind.Round(time.Second), whose))
}

// follow sets the clock, or says why not.
func (c *Clock) follow(at time.Time) string {
	if at.After(c.Limit) {
		return "this node's certificate is good until " + c.Limit.UTC().Format(time.DateOnly) + " only"
	}

	is, err := c.Disciplined()
	if err != nil {
		return err.Error()
	}

	if is {
		return "something like NTP keeps it right: the other one is wrong"
	}

	if err := c.Set(at); err != nil {
		return err.Error()
	}

	return ""
}

// disciplined asks the kernel, which is told by whoever keeps the clock right.
func disciplined() (bool, error) {
	var state unix.Timex

	_, err := unix.Adjtimex(&state)
	if err != nil {
		return false, fmt.Errorf("ask the kernel whether the clock is kept right: %w", err)
	}

	return state.Status&unix.STA_UNSYNC == 0, nil
}

func set(at time.Time) error {
	err := unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())})
	if err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}

	return nil
}
