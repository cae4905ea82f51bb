package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// Host upgrades this node.
type Host struct {
	Card  Card
	Paths Paths

	mu sync.Mutex
}

// Look returns what the node is.
func (h *Host) Look() (Info, error) {
	h.mu.Lock()
	defer h.mu.Unlock()

	return Look(h.Card, h.Paths)
}

// Upgrade writes the other slot, to be tried at the next start, and returns its
// name.
func (h *Host) Upgrade(ctx context.Context, system System, data io.Reader, progress Progress) (string, error) {
	if !h.mu.TryLock() {
		return "", refused("another upgrade of this node is under way")
	}
	defer h.mu.Unlock()

	started, err := h.Paths.Started()
	if err != nil {
		return "", err
	}

	if why := notUpgradable(started); why != "" {
		return "", refused("%s", why)
	}

	slot, err := Write(ctx, h.Card, started, system, data, progress)
	if err != nil {
		return "", err
	}

	// After the slot: a record without a slot would tell of what never was.
	return slot, Record{Slot: slot}.Write(h.Paths.Record)
}

// rebootSignal asks systemd for an orderly restart: SIGRTMIN+5, systemd(1).
const rebootSignal = syscall.Signal(34 + 5)

// Restart the machine in order.
func (h *Host) Restart() error {
	err := syscall.Kill(1, rebootSignal)
	if err != nil {
		return fmt.Errorf("restart this machine: %w", err)
	}

	return nil
}

// Settle carries out what the trial found.
func (h *Host) Settle(verdict error, endGuard func() error) error {
	started, err := h.Paths.Started()
	if err != nil {
		return err
	}

	if verdict != nil {
		err = Record{Slot: started.Slot, Outcome: fmt.Sprintf("slot %s was tried and given up: %v", started.Slot, verdict)}.Write(h.Paths.Record)

		return errors.Join(err, h.Restart())
	}

	err = Commit(h.Card, started.Slot)
	if err != nil {
		return err // the guard goes on, and the old system comes back
	}

	return errors.Join(
		Record{Slot: started.Slot, Outcome: fmt.Sprintf("slot %s was committed", started.Slot)}.Write(h.Paths.Record),
		endGuard(),
	)
}
