package replication

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"antler/services/node/config"
)

// Where this node remembers, for as long as its kernel runs, that it has broken off
// frozen I/O, and that it has lost the replica's disk.
const (
	BreakMarkPath = config.RunDir + "/broken-off"
	LossMarkPath  = config.RunDir + "/disk-lost"
)

// mark is a fact that outlives antlerd and is gone with the kernel that it is about.
type mark struct{ path string }

func (m mark) there() bool {
	_, err := os.Lstat(m.path)

	// What can't be told counts as there: it costs time, and no data.
	return !errors.Is(err, fs.ErrNotExist)
}

// isSet is there for a mark whose absence is the safe side.
func (m mark) isSet() bool {
	_, err := os.Lstat(m.path)

	return err == nil
}

func (m mark) set() error {
	err := os.MkdirAll(filepath.Dir(m.path), 0o755)
	if err == nil {
		err = os.WriteFile(m.path, nil, 0o600)
	}

	if err != nil {
		return fmt.Errorf("make the mark: %w", err)
	}

	return nil
}

func (m mark) clear() error {
	err := os.Remove(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the mark away: %w", err)
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
// DRBD 9 has a command for all of this, and keeps the disk.
func (a actions) breakOff(ctx context.Context, look func() kernel) error {
	// A disk that an error took away was not let go of, and is not attached again.
	if attached(look().disk) {
		err := a.letGo(ctx)
		if err != nil {
			return err
		}
	}

	if a.drbd.nine() {
		return a.drbd.ForceSecondary(ctx)
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

// letGo of the disk, and remember that before.
func (a actions) letGo(ctx context.Context) error {
	err := a.mark.set()
	if err != nil || a.drbd.nine() {
		return err
	}

	return a.drbd.ForceDetach(ctx)
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
func (k *keeping) breaksOff() {
	if !k.broken {
		k.broken, k.brokenAt = true, time.Now()
	}

	k.Handler.Refuse(true)
}

// beginsAnew ends that when the kernel has told of a secondary with its disk: it was
// attached again, or never let go of. DRBD 9 keeps the disk, and is taken at its
// command's word.
func (k *keeping) beginsAnew() {
	if !k.broken || k.drbd.nine() || k.current != stepNone || k.kernel.role != RoleSecondary || !attached(k.kernel.disk) {
		return
	}

	err := k.mark.clear()
	if err != nil {
		k.logger.Warn("replica", zap.Error(err))

		return
	}

	k.broken = false
}

// attached reports whether there is a disk to read from.
func attached(disk string) bool {
	switch disk {
	case "", diskDiskless, diskFailed, diskAttaching:
		return false
	}

	return true
}

// refuseHandler: while it leaves the primary role by force, or has no disk of its own,
// DRBD's handler gets no for an answer. It is the peer that shall serve, and not be
// outdated.
func (k *keeping) refuseHandler() { k.Handler.Refuse(k.broken || k.lost) }

// notesLoss: that an error took the disk away stays true until the resource is gone, or
// somebody has attached a disk. To do so here would be to forget what went to the peer
// alone meanwhile. The watch of the kernel may have begun after it: but to break it off,
// which has its mark, nothing else leaves a primary without one.
func (k *keeping) notesLoss() {
	switch {
	case k.kernel.known && !k.kernel.exists, attached(k.kernel.disk):
		k.lost = false
	case !k.broken && (k.kernel.failures > 0 || k.kernel.role == RolePrimary && k.kernel.disk == diskDiskless):
		k.lost = true
	}

	if k.lost == k.lossMarked {
		return
	}

	note := k.loss.clear
	if k.lost {
		note = k.loss.set
	}

	err := errors.Join(note(), k.sound.clear())
	if err != nil {
		k.logger.Warn("replica: an antlerd after this one would be wrong about the loss of its disk", zap.Bool("lost", k.lost), zap.Error(err))

		return
	}

	k.lossMarked = k.lost
}

// untilLate is how long it has yet to begin anew; 0 while it has not to, or is late:
// whoever holds the epoch must not keep it from the other node for longer.
func (k *keeping) untilLate() time.Duration {
	if !k.broken {
		return 0
	}

	return max(0, k.Timing.PromoteDeadline-time.Since(k.brokenAt))
}

func (k *keeping) late() bool { return k.broken && k.untilLate() == 0 }

// sooner of two times to wait, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}

	return min(a, b)
}
