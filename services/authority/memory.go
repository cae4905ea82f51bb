package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A run of antlerd that is killed leaves a master that serves with nobody to
// stop it. The next run may leave it alone only for as long as the lease of the
// last one lasts: the leader waits for no more. So the end of the lease is
// written down outside the process, on the clock that all processes since the
// boot share.

// LeaseMemory keeps the end of this node's lease for the next run of antlerd. It
// must not outlive a reboot: nothing does that the lease was for.
type LeaseMemory interface {
	// Remember that the lease is over in this time from now.
	Remember(left time.Duration) error
	// Recall returns what is left of the lease; known is false where none was
	// written down since the boot.
	Recall() (left time.Duration, known bool, err error)
}

// LeaseFile is a LeaseMemory. It lies on a file system that is in memory.
type LeaseFile string

// Remember implements LeaseMemory.
func (f LeaseFile) Remember(left time.Duration) error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}

	err = f.write(fmt.Appendf(nil, "%020d\n", int64(now+max(left, 0))))
	if err != nil {
		return fmt.Errorf("write down when the lease ends: %w", err)
	}

	return nil
}

// write over what is there. It is of the same length, and one write to memory:
// done or not done, whenever the process is killed.
func (f LeaseFile) write(content []byte) error {
	file, err := os.OpenFile(string(f), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}

	_, err = file.WriteAt(content, 0)

	return errors.Join(err, file.Close())
}

// Recall implements LeaseMemory.
func (f LeaseFile) Recall() (time.Duration, bool, error) {
	content, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}

	if err != nil {
		return 0, false, fmt.Errorf("read when the lease of the last run ends: %w", err)
	}

	// What is damaged makes no lease longer.
	var end time.Duration
	if text, whole := strings.CutSuffix(string(content), "\n"); whole {
		end = nanoseconds(text)
	}

	now, err := sinceBoot()
	if err != nil {
		return 0, false, err
	}

	if end <= now {
		return 0, true, nil
	}

	return end - now, true, nil
}

// nanoseconds of a moment since the boot, 0 if it is none.
func nanoseconds(text string) time.Duration {
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}

	return time.Duration(ns)
}

// sinceBoot is CLOCK_BOOTTIME: it goes on while the machine sleeps, as the
// leader's clock does.
func sinceBoot() (time.Duration, error) {
	var now unix.Timespec

	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	if err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}

	return time.Duration(now.Nano()), nil
}
