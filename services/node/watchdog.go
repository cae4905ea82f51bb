package node

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watchdog is the machine's hardware (or software) watchdog: unless it is fed
// in time it resets the machine, whatever antlerd or the kernel are stuck in.
type Watchdog struct {
	device   *os.File
	disarmed bool
}

// OpenWatchdog opens the watchdog at path and arms it. The kernel rounds the
// timeout to what the device can do: at most 15 s on a Raspberry Pi. With a watchdog
// and an error it is armed, and not as was asked for.
func OpenWatchdog(path string, timeout time.Duration) (*Watchdog, error) {
	device, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}

	asked := int(timeout.Round(time.Second).Seconds())
	// Where it can't be set the device keeps the one it has; it is armed all the same.
	setErr := unix.IoctlSetPointerInt(int(device.Fd()), unix.WDIOC_SETTIMEOUT, asked)
	has, getErr := unix.IoctlGetInt(int(device.Fd()), unix.WDIOC_GETTIMEOUT)

	return &Watchdog{device: device}, checkTimeout(asked, has, setErr, getErr)
}

// checkTimeout judges what came of setting the timeout, in seconds: one that is
// shorter than asked for is as good.
func checkTimeout(asked, has int, setErr, getErr error) error {
	const advice = "use a driver of the watchdog that takes this timeout"

	switch {
	case getErr != nil:
		return fmt.Errorf("set watchdog to %d s: how long it has can't be read: %w: %s", asked, errors.Join(setErr, getErr), advice)
	case setErr != nil:
		return fmt.Errorf("set watchdog to %d s: it keeps its %d s: %w: %s", asked, has, setErr, advice)
	case has > asked:
		return fmt.Errorf("set watchdog to %d s: it has %d s: %s", asked, has, advice)
	}

	return nil
}

// Feed puts the reset off by the timeout.
func (w *Watchdog) Feed() error {
	_, err := w.device.Write([]byte{0})
	if err != nil {
		return fmt.Errorf("feed watchdog: %w", err)
	}

	return nil
}

// Disarm ends the watch in order; a watchdog that is only closed, as by a
// crash, goes on and resets the machine. One that is disarmed stays so.
func (w *Watchdog) Disarm() error {
	if w.disarmed {
		return nil
	}

	_, err := w.device.Write([]byte("V"))
	if err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}

	w.disarmed = true

	return w.device.Close()
}

// Reset resets the machine at once, without sync or shutdown: what is not on
// the replica yet must not get there any more.
func Reset() error {
	err := os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
	if err != nil {
		return fmt.Errorf("reset this machine: %w (the watchdog will)", err)
	}

	return nil
}
