package replication

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"antler/services/node/config"
)

// A disk that answers a flush before it has written, as many cards and USB bridges
// do, loses in a power cut what it said was there. DRBD sends a replica that comes
// back what was written while it was away and nothing of that: the replicas would
// differ from then on, and nobody would know before the one that lacks something
// serves. So the one that serves has DRBD compare all of both some time after each
// time that they were connected, and each week.
//
// What differs is copied to the peer if this node's own replica is sound: it was
// compared and found the same since this node was started, so its disk had no
// power cut to forget in. To copy, the peer is parted from, which has the quorum take
// it off the list of those that may serve, and connected to again. If the node that
// serves is not sound either, nobody knows which of the two is right, and a person is
// told.

// SoundMarkPath is where this node remembers, for as long as its kernel runs, that its
// replica was compared with the other one, and was the same.
const SoundMarkPath = config.RunDir + "/replica-sound"

// comparison is what is known of whether the two replicas hold the same.
type comparison struct {
	// sound was set when they were found to.
	sound mark
	// after and every are CompareAfter and CompareEvery of the table of times.
	after, every time.Duration
	// due is when they are compared; zero while they can't be. at is when they were
	// last found to be the same, on the connection that there is.
	due, at time.Time
	// judged counts those of the kernel's comparisons of which the result was read, and
	// reading those that there were when that began.
	judged, reading int
	// differed counts those in a row by which the replicas were not the same, by as
	// many KiB; copied says that the peer gets what is here.
	differed int
	kib      uint64
	copied   bool
}

// note what the kernel tells of the connection.
func (c *comparison) note(before, after kernel, now time.Time) {
	switch {
	case !after.known:
	case after.connection != connected:
		// What was found is gone with the connection.
		c.due, c.at, c.judged = time.Time{}, time.Time{}, after.compared
	case !before.known, before.connection != connected, after.connects != before.connects:
		c.due, c.at, c.judged = now.Add(c.pause()), time.Time{}, after.compared
	case after.syncing():
		c.due, c.at = now.Add(c.pause()), time.Time{}
	}
}

// pauseDoublings bound the pause between comparisons of replicas that differ each time.
const pauseDoublings = 6

func (c *comparison) pause() time.Duration { return c.after << min(c.differed, pauseDoublings) }

// isDue reports whether it is time, and wait how long that is off; 0 if no time will
// come.
func (c *comparison) isDue(now time.Time) bool { return !c.due.IsZero() && !now.Before(c.due) }

func (c *comparison) wait(now time.Time) time.Duration {
	if c.due.IsZero() {
		return 0
	}

	return max(0, c.due.Sub(now))
}

// differText is what a person has to know of it.
func (c *comparison) differText() string {
	switch {
	case c.differed == 0:
		return ""
	case c.copied:
		return fmt.Sprintf("the replicas were not the same, %d times in a row, and the peer got what is here: "+
			"one of their disks doesn't keep what it says it has written: if this comes again, replace it", c.differed)
	}

	return fmt.Sprintf("the replicas are not the same (%d KiB differ): a disk did not keep what it said it had written. "+
		"The node that serves copies what it has, if it knows that to be whole; else put a blank disk in the place of the one to be given up", c.kib)
}

// comparable: this node serves, and may, and both replicas are there and up to date.
func (s situation) comparable() bool {
	return s.spec.Role == RolePrimary && s.spec.PeerTrusted && s.kernel.mirrored()
}

// mirrored: this side is primary, and all that it writes is on both replicas.
func (k kernel) mirrored() bool {
	return k.role == RolePrimary && k.suspended == "" && k.connection == connected && k.replication == established && k.bothUpToDate()
}

func (k kernel) bothUpToDate() bool { return k.disk == diskUpToDate && k.peerDisk == diskUpToDate }

// judge reads what a comparison has found, and parts from a peer that is to get what is
// here: see stepConnect for what follows.
func (a actions) judge(ctx context.Context, spec ReplicaSpecSpec) (measured kernel, parted bool, err error) {
	measured, err = a.measure(ctx)
	if err != nil {
		return measured, false, err
	}

	if measured.outOfSync == 0 || spec.Role != RolePrimary || !spec.PeerTrusted || !measured.mirrored() || !a.sound.there() {
		return measured, false, nil
	}

	return measured, true, a.part(ctx, spec)
}

// judged takes in the result.
func (k *keeping) judged(measured kernel, parted bool) {
	c, now := &k.comparison, time.Now()
	c.judged, c.due = c.reading, now.Add(c.pause())

	// It ended because a disk was lost, or the peer.
	if measured.connection != connected || !measured.bothUpToDate() {
		return
	}

	serves := k.kernel.role == RolePrimary

	if measured.outOfSync > 0 {
		c.differed, c.kib, c.copied = c.differed+1, measured.outOfSync, parted
		c.due = now.Add(c.pause())

		if serves {
			k.Events.Emit("replication.differed", k.tellingEpoch(), c.told())
		}

		return
	}

	c.differed, c.at, c.due = 0, now, now.Add(c.every)

	if err := c.sound.set(); err != nil {
		k.logger.Warn("replica: this node can't repair the other one's", zap.Error(err))
	}

	if serves {
		k.Events.Emit("replication.compared", k.tellingEpoch(), fmt.Sprintf("both replicas hold the same, in all %d MiB", measured.size>>10))
	}
}

// told is the event.
func (c *comparison) told() string {
	what := "nobody knows which is right, and nothing is copied"
	if c.copied {
		what = "the peer gets what is here"
	}

	return fmt.Sprintf("%d KiB are not the same on both replicas, though their disks said so: %s", c.kib, what)
}
