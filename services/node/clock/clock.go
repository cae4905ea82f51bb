// Package clock keeps the wall clocks of a cluster together where nobody tells its nodes
// the time. A Raspberry Pi has none that goes on without power: after each start it
// begins where its system was built. MooseFS goes by the wall clock: a chunk that was
// written to at a time which is yet to come counts as locked until then (chunk_unlock in
// mfsmaster's chunks.c), so a failover to a node whose clock is a month behind would hold
// up every write to what was written in that month.
//
// So the clock of the node that serves is the one that counts, and goes only forward:
// it stays neither behind what it has shown before nor behind the last change of the
// metadata that is about to be served. The others follow it, forward only as well; a
// wrong clock of another node takes nobody along. Where something like NTP disciplines a
// clock it is left alone.
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
	// Now by the wall clock, and Passed by a monotonic one, which nobody sets.
	Now    func() time.Time
	Passed func() time.Duration
	// Disciplined reports whether something keeps the clock right.
	Disciplined func() (bool, error)
	// Set the wall clock.
	Set func(time.Time) error
	// Limit is the last moment that the clock is put to: after it the nodes would soon
	// not take each other's certificates any more.
	Limit time.Time
	// Emit tells of a clock that was set.
	Emit   func(kind, message string)
	Logger *zap.Logger

	mu sync.Mutex
	// mark is a time that the clock has shown, at markAt of the monotonic one.
	mark   time.Time
	markAt time.Duration
	// said is what was last logged of a clock that stays behind, by behind what.
	said map[string]string
}

// New returns the system's clock.
func New(limit time.Time, emit func(kind, message string), logger *zap.Logger) *Clock {
	begun := time.Now()

	return &Clock{
		Now: time.Now, Passed: func() time.Duration { return time.Since(begun) },
		Disciplined: disciplined, Set: set, Limit: limit, Emit: emit, Logger: logger,
	}
}

// Heard puts the clock forward if it is behind at, a time that has been somewhere: whose
// says where, in words for people.
func (c *Clock) Heard(whose string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.catchUp(whose, at)
}

// Keep puts the clock forward if it was set back since the last call.
func (c *Clock) Keep() {
	c.mu.Lock()
	defer c.mu.Unlock()

	now := c.Passed()
	if !c.mark.IsZero() && !c.catchUp("what it showed before", c.mark.Add(now-c.markAt)) {
		return
	}

	c.mark, c.markAt = c.Now().Round(0), now
}

// catchUp reports whether the clock isn't behind, or isn't any more, or rightly so.
func (c *Clock) catchUp(whose string, at time.Time) bool {
	// Without its monotonic part, which knows nothing of clocks that are set.
	behind := at.Sub(c.Now().Round(0))
	if behind <= Tolerance {
		delete(c.said, whose)

		return true
	}

	why, rightly := c.follow(at)
	if why == "" {
		c.Emit("clock.set", fmt.Sprintf("the clock was %s behind %s, and nothing like NTP keeps it right: it was put forward", behind.Round(time.Second), whose))

		return true
	}

	if c.said[whose] != why {
		c.Logger.Warn("the clock is behind, and stays so", zap.String("than", whose), zap.Duration("by", behind), zap.String("why", why))
	}

	if c.said == nil {
		c.said = map[string]string{}
	}

	c.said[whose] = why

	return rightly
}

// follow sets the clock, or says why not; rightly, if the clock is right as it is.
func (c *Clock) follow(at time.Time) (why string, rightly bool) {
	is, err := c.Disciplined()

	switch {
	case err != nil:
		return err.Error(), false
	case is:
		return "something like NTP keeps it right: the other one is wrong", true
	case at.After(c.Limit):
		return "certificates are good for a month longer than " + c.Limit.UTC().Format(time.DateOnly) + " at most", false
	}

	if err := c.Set(at); err != nil {
		return err.Error(), false
	}

	return "", false
}

// disciplined asks the kernel, which is told by whoever keeps the clock right:
// systemd-timesyncd and Talos do, in one call with a step; chrony only with rtcsync, and
// ntpd not with its steps.
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
