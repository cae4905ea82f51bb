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
// timeout to what the device can do: at most 15 s on a Raspberry Pi.
func OpenWatchdog(path string, timeout time.Duration) (*Watchdog, error) {
	device, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}

	seconds := int(timeout.Round(time.Second).Seconds())

	err = unix.IoctlSetPointerInt(int(device.Fd()), unix.WDIOC_SETTIMEOUT, seconds)
	if err != nil {
		// The device keeps the timeout it has; it is armed all the same.
		err = fmt.Errorf("set watchdog to %d s: %w", seconds, err)
	} else if has, getErr := unix.IoctlGetInt(int(device.Fd()), unix.WDIOC_GETTIMEOUT); getErr != nil || has > seconds {
		err = errors.Join(fmt.Errorf("set watchdog to %d s: it has %d s", seconds, has), getErr)
	}

	return &Watchdog{device: device}, err
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
