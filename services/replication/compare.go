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
// power cut to forget in, and nobody has written to it since who may have worked from
// something else: a peer that served without having been compared. To copy, the peer is
// parted from, which has the quorum take it off the list of those that may serve, and
// connected to again. If the node that serves is not sound, nobody knows which of the two
// is right: a person is told, and they stay connected. Once they lose each other DRBD
// copies all the same, from the one that serves then.

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
	// vouched: on this connection they were found to be the same, as far as an antlerd
	// before this one has left word.
	vouched bool
	// judged counts those of the kernel's comparisons of which the result was read, and
	// reading those that there were when that began.
	judged, reading int
	// differed counts those in a row by which the replicas were not the same; kib is by
	// how much they aren't, if nothing is done about it.
	differed int
	kib      uint64
}

// note what the kernel tells of the connection.
func (c *comparison) note(before, after kernel, now time.Time) {
	switch {
	case !after.known:
	case after.connection != connected:
		// What was found is gone with the connection.
		c.due, c.at, c.judged, c.kib, c.vouched = time.Time{}, time.Time{}, after.compared, 0, false
	case !before.known, before.connection != connected, after.connects != before.connects:
		c.due, c.at, c.judged, c.kib = now.Add(c.pause()), time.Time{}, after.compared, 0
		c.vouched = !before.known && c.sound.isSet()
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

// overwritten reports whether somebody writes to this replica who may work from something
// else: a peer with which it was not compared.
func (c *comparison) overwritten(k kernel) bool {
	return k.peerRole == RolePrimary && !c.vouched || k.replication == "SyncTarget" || k.replication == "PausedSyncT"
}

// compared is what the one that serves has found. An antlerd before this one may have found
// the same; it is found again.
func (k *keeping) compared() Comparison {
	switch {
	case !k.kernel.bothThere() || k.drbd.nine():
		return ""
	case k.comparison.kib > 0:
		return ComparisonDifferent
	case k.comparison.at.IsZero():
		return ComparisonOutstanding
	default:
		return ""
	}
}

// differText is what a person has to know of it.
func (c *comparison) differText() string {
	if c.kib == 0 {
		return ""
	}

	return fmt.Sprintf("the replicas are not the same (%d KiB differ), and nobody knows which is right: a disk did not keep what it said it had written. "+
		"When the nodes lose each other the next time, what the one has that serves then is copied: docs/recovery.md", c.kib)
}

// comparable: this node serves, and may, and both replicas are there and up to date.
func (s situation) comparable() bool {
	return s.spec.Role == RolePrimary && s.spec.PeerTrusted && s.kernel.mirrored()
}

// mirrored: this side is primary, all that it writes is on both replicas, and DRBD reads
// neither.
func (k kernel) mirrored() bool {
	return k.bothThere() && k.suspended == "" && k.replication == established
}

// bothThere: this side is primary, and the other one as up to date.
func (k kernel) bothThere() bool {
	return k.role == RolePrimary && k.connection == connected && k.bothUpToDate()
}

func (k kernel) bothUpToDate() bool { return k.disk == diskUpToDate && k.peerDisk == diskUpToDate }

// judge reads what a comparison has found, and parts from a peer that is to get what is
// here: see stepConnect for what follows.
func (a actions) judge(ctx context.Context, spec ReplicaSpecSpec) (measured kernel, parted bool, err error) {
	measured, err = a.measure(ctx)
	if err != nil {
		return measured, false, err
	}

	if measured.outOfSync == 0 || spec.Role != RolePrimary || !spec.PeerTrusted || !measured.mirrored() || !a.sound.isSet() {
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
		k.differ(measured.outOfSync, parted, serves, now)

		return
	}

	c.differed, c.kib, c.at, c.due, c.vouched = 0, 0, now, now.Add(c.every), true
	k.keepSound(c.sound.set())

	if serves {
		k.Events.Emit("replication.compared", k.tellingEpoch(), fmt.Sprintf("both replicas hold the same, in all %d MiB", measured.size>>10))
	}
}

// differ notes that they do, by as many KiB.
func (k *keeping) differ(kib uint64, parted, serves bool, now time.Time) {
	c := &k.comparison
	c.differed++
	c.due = now.Add(c.pause())

	what := "the peer gets what is here"

	switch {
	case !serves:
		// The one that does may be wrong, and has been written here.
		k.keepSound(c.sound.clear())

		return
	case !parted:
		what = "nobody knows which is right, and they are left as they are"
		c.kib, c.due = kib, now.Add(c.every)
	}

	k.Events.Emit("replication.differed", k.tellingEpoch(), fmt.Sprintf("%d KiB are not the same on both replicas, though their disks said so: %s", kib, what))
}

// keepSound logs that the mark couldn't be changed.
func (k *keeping) keepSound(err error) {
	if err != nil {
		k.logger.Warn("replica: whether it is known to be whole", zap.Error(err))
	}
}
