package node

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// ProcessCanAnswer reports whether the process may still answer a client. One
// that is gone, a zombie, or in uninterruptible sleep (on frozen I/O, with
// SIGKILL pending) can't.
func ProcessCanAnswer(pid int) bool {
	state := processState(pid)

	return state != "" && !strings.Contains("ZXD", state)
}

// Activity is what the kernel's scheduler says of a process of one thread.
type Activity struct {
	At time.Time
	// State is the letter of proc_pid_stat(5), "" when the process is gone.
	State string
	// Ran is for how long it has run, Waited for how long it was ready to and had
	// no processor, Turns how often it began to.
	Ran, Waited time.Duration
	Turns       uint64
}

// ProcessActivity looks at /proc/PID/schedstat (sched-stats in the kernel's
// documentation: time spent on the cpu in ns, time spent waiting, timeslices).
func ProcessActivity(pid int) Activity {
	a := Activity{At: time.Now(), State: processState(pid)}

	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return a
	}

	_, err = fmt.Sscan(string(content), &a.Ran, &a.Waited, &a.Turns)
	if err != nil {
		return Activity{At: a.At, State: a.State}
	}

	return a
}

// spinning is the share of the time that a process runs which never sleeps.
const spinning = 0.8

// StuckSince reports whether the process has done nothing since before, or
// nothing but run: it is stopped, waits for what never comes, or is in a loop.
// One that waits for a disk or a processor, or runs and sleeps by turns, is slow.
func (a Activity) StuckSince(before Activity) bool {
	if a.Turns == before.Turns {
		return !a.waits()
	}

	return float64(a.Ran-before.Ran) > spinning*float64(a.At.Sub(before.At))
}

// working is the least share of the time that a process at work runs, or would if it
// had a processor. One that polls takes less.
const working = 0.2

// WorkedSince reports whether the process was at work since before: it ran, waited for
// a processor, or waits for a disk.
func (a Activity) WorkedSince(before Activity) bool {
	busy := a.Ran - before.Ran + a.Waited - before.Waited

	return a.State == "D" || float64(busy) >= working*float64(a.At.Sub(before.At))
}

// waits says that it waits for a disk or a processor. One that is gone doesn't.
func (a Activity) waits() bool { return a.State == "D" || a.State == "R" }

// Since says what the process has done since before, for people.
func (a Activity) Since(before Activity) string {
	if a.State == "" {
		return "it is gone"
	}

	const ms = time.Millisecond

	return fmt.Sprintf("in %s it ran %s in %d turns and waited %s for a processor; its state is %s",
		a.At.Sub(before.At).Round(ms), (a.Ran - before.Ran).Round(ms), a.Turns-before.Turns, (a.Waited - before.Waited).Round(ms), a.State)
}

// processState is the letter of proc_pid_stat(5), or "" when the process is gone.
func processState(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}

	// It follows the command, which stands in parentheses and may hold anything.
	_, after, found := strings.Cut(string(content[strings.LastIndexByte(string(content), ')')+1:]), " ")
	if !found || after == "" {
		return ""
	}

	return after[:1]
}
