package replication

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"antler/services/node/config"
)

// BreakMarkPath is where this node remembers that it has broken off frozen I/O. It is
// gone with the kernel that it is about.
const BreakMarkPath = config.RunDir + "/broken-off"

// breakMark is there from before the disk is let go of until it is attached again. A
// primary without its disk and without the mark has lost it by an error.
type breakMark struct{ path string }

func (m breakMark) there() bool {
	_, err := os.Lstat(m.path)

	// What can't be told counts as there: it costs a new start, and no data.
	return !errors.Is(err, fs.ErrNotExist)
}

func (m breakMark) set() error {
	err := os.MkdirAll(filepath.Dir(m.path), 0o755)
	if err == nil {
		err = os.WriteFile(m.path, nil, 0o600)
	}

	if err != nil {
		return fmt.Errorf("note that frozen I/O is broken off: %w", err)
	}

	return nil
}

func (m breakMark) clear() error {
	err := os.Remove(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget that frozen I/O was broken off: %w", err)
	}

	return nil
}

// breakOff is what drbd_adm_resume_io calls a multi-stage forced down: without
// its disk, all that is frozen ends with an error once I/O goes on, and reaches
// no disk. mfsmaster has been sent SIGKILL by then (see Force), so nobody can
// tell a client otherwise.
//
// The disk has to be gone before that, not only on its way out (Failed): else
// DRBD writes a new generation of the data to it, which nobody else has, and the
// replicas end in a split brain.
//
// DRBD 9 has a command for all of this.
func (a actions) breakOff(ctx context.Context, look func() kernel) error {
	err := a.mark.set()
	if err != nil {
		return err
	}

	if a.drbd.nine() {
		return a.drbd.ForceSecondary(ctx)
	}

	if disk := look().disk; disk != diskDiskless && disk != diskFailed {
		err := a.drbd.ForceDetach(ctx)
		if err != nil {
			return err
		}
	}

	for look().disk != diskDiskless {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the disk under %s does not let go: I/O stays frozen: reset this node", drbdDevice)
		case <-time.After(detachPoll):
		}
	}

	return a.drbd.ResumeIO(ctx)
}

// detachPoll is how often the kernel's word is looked at.
const detachPoll = 10 * time.Millisecond

// recycle starts anew with the disk that breakOff let go of.
func (a actions) recycle(ctx context.Context, spec ReplicaSpecSpec) error {
	err := a.awaitHelpers(ctx)
	if err != nil {
		return err
	}

	err = a.drbd.Down(ctx)
	if err != nil {
		return err
	}

	return a.up(ctx, spec)
}

// breaksOff notes that the replica is on its way out of the primary role by force.
// Until it has begun anew DRBD's handler gets no for an answer: the peer shall not be
// outdated, but serve.
func (k *keeping) breaksOff() {
	if !k.broken {
		k.broken, k.brokenAt = true, time.Now()
	}

	k.recycled = false
	k.Handler.Refuse(true)
}

// beginsAnew ends that, when the kernel has told of a disk that has lost nothing.
func (k *keeping) beginsAnew() {
	if k.broken && k.recycled && k.kernel.exists && k.kernel.failures == 0 {
		k.broken, k.recycled = false, false
		k.Handler.Refuse(false)
	}
}

// late: it should have begun anew. Whoever holds the epoch must not keep it from the
// other node for longer.
func (k *keeping) late() bool {
	return k.broken && time.Since(k.brokenAt) >= k.Timing.PromoteDeadline
}
