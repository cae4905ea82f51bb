package authority

import (
	"errors"
	"fmt"
	"time"

	"antler/services/node/config"
)

// Timing is the one table of detection, lease and step times of the product.
// The relations that make them safe or useful are in Validate, and tested.
//
// The defaults are for small ARM nodes and hold under emulation on a noisy
// host. What a client sees when the serving node's power is cut is
//
//	GrantWait + commit + promote, mount, start + the client's own way back
//	3.9 s     + 0.1 s
//
// of which `make bench-failover` measures each. GrantWait is as long as the 8 s
// aimed at allow, if the rest takes what it did on a quiet machine under emulation:
// with shorter times one that emulates three nodes on two processors lost its lease
// for no other reason than being busy.
type Timing struct {
	// RenewInterval is how often the holder asks the leader for a longer lease,
	// and sends its report with that. A missed one is made up for by the next, see
	// Validate.
	RenewInterval time.Duration
	// ReportInterval is how often the other nodes send their reports when nothing
	// has changed.
	ReportInterval time.Duration
	// RenewTimeout ends a renewal that is not answered, so that the next can go
	// to another leader.
	RenewTimeout time.Duration
	// AliveWithin is for how long after its last report a node counts as alive:
	// a node that isn't is never granted an epoch.
	AliveWithin time.Duration

	// LeaseTTL is for how long the holder may serve, counted from when it sent
	// the last renewal that was answered.
	LeaseTTL time.Duration
	// FenceDeadline is the time from the loss of the lease until mfsmaster is
	// dead; a node that needs longer resets itself.
	FenceDeadline time.Duration
	// ClockMargin is for clocks that drift and timers that fire late: 100 ppm of
	// drift in LeaseTTL is 0.2 ms, so nearly all of it is for late timers.
	ClockMargin time.Duration
	// GrantWait is what the leader waits before it grants a new epoch, counted
	// from its last answer to the holder or from when it became leader,
	// whichever is later.
	GrantWait time.Duration
	// RestartHold is how much longer than GrantWait the leader waits while
	// antlerd on the holder is restarted on purpose, so that serving goes on
	// meanwhile.
	RestartHold time.Duration

	// WatchdogTimeout is after how long a node is reset on which antlerd is gone or
	// hangs: what a Raspberry Pi's watchdog can do at most.
	WatchdogTimeout time.Duration
	// DeadWait is how much longer than its guard lasts a node must not have been
	// heard of before it is called dead. GuardMin is the shortest guard. See
	// guard.go.
	DeadWait, GuardMin time.Duration

	// RaftHeartbeat is Raft's heartbeat timeout (a follower without contact
	// stands for election after one to three of it, since its timer of one to two isn't
	// started anew by contact), RaftElection its election timeout. When the leader dies
	// the holder must find the next one before its lease ends.
	RaftHeartbeat, RaftElection time.Duration
	// LeaderSilence is for how long the holder hears nothing from the leader before it
	// stands for election in its place (stand.go). Raft must not begin an election of its
	// own before, which nobody would vote in yet. UnheardFor is for how long that leader
	// isn't to lead again; after that it may as soon as it answers.
	LeaderSilence, UnheardFor time.Duration
	// HeartbeatInterval is how often the leader sends a heartbeat of its own accord. Each
	// renewal has it send one: with a little more than RenewInterval there are no others
	// as long as somebody serves.
	HeartbeatInterval time.Duration
	// RaftLeaderLease: a leader without contact to a quorum steps down after it.
	RaftLeaderLease time.Duration
	// RaftCommit is how late a follower may learn that the very last entry is
	// committed. What matters is followed by another entry, see applyRaw.
	RaftCommit time.Duration
	// RaftTakeover is what a new leader needs from winning until it has applied
	// everything before its term and can answer renewals.
	RaftTakeover time.Duration
	// RaftIO ends a read or write on a Raft connection.
	RaftIO time.Duration
	// ConnectTimeout ends an attempt to reach a node that doesn't answer at all, which
	// may be off: to begin anew is quicker than TCP's own pauses once it is back.
	ConnectTimeout time.Duration
	// HandshakeTimeout ends a connection to a node that doesn't speak TLS. Two small
	// machines that are busy take seconds for a handshake.
	HandshakeTimeout time.Duration
	// ApplyTimeout ends the wait for a proposed command.
	ApplyTimeout time.Duration

	// TransferDelay: leadership is moved to where it is better placed that long
	// after it came to a node or was last tried. Not at once: a takeover has better
	// things to do.
	TransferDelay time.Duration
	// SwitchoverDeadline is the time in which the old holder must have released
	// (it saves its metadata and stops cleanly first), or the wish is dropped.
	SwitchoverDeadline time.Duration
	// SettleTime is what clients get in a switchover after mfsmaster has saved
	// its metadata, which held them up, so that they are not held up twice in a
	// row; DrainTime what requests on their way get to be answered: a new chunk
	// takes a word with two chunkservers.
	SettleTime, DrainTime time.Duration
	// GiveUpBackOff is for how long a node that gave up isn't granted an epoch;
	// it doubles with each failure in a row, up to GiveUpBackOffMax.
	GiveUpBackOff, GiveUpBackOffMax time.Duration

	// ReplicaPingInterval, ReplicaPingTimeout and ReplicaTimeout are DRBD's
	// ping-int, ping-timeout and timeout: an idle link that died is noticed after
	// the first two together. DRBD takes them in s, 0.1 s and 0.1 s.
	ReplicaPingInterval, ReplicaPingTimeout, ReplicaTimeout time.Duration

	// CompareAfter is when all of both replicas is compared, counted from when they were
	// connected or made equal: a takeover has better things to do for the disks.
	// CompareEvery is when that is done again (DRBD's guide asks for a month at most).
	CompareAfter, CompareEvery time.Duration

	// ProbeInterval and ProbeTimeout are of the question asked of mfsmaster over
	// its own protocol; ProbesFailed in a row mean that it doesn't serve.
	ProbeInterval, ProbeTimeout time.Duration
	ProbesFailed                int

	// The deadlines of the steps of taking over, in order. A step that misses
	// its own ends the attempt with a reason.
	PromoteDeadline, FsckDeadline, MountDeadline, RecoverDeadline, StartDeadline time.Duration
	// ContainerDeadline is for making mfsmaster's container where containerd has yet
	// to do it: a node that boots, or is busy with a resync, took most of a minute
	// under emulation. LoadDeadline is for a start in which mfsmaster is at work all
	// along: it loads the metadata of many files (1,000,000 took 11 to 16 s under
	// emulation: `make bench-failover`). What misses one of these gives up.
	ContainerDeadline, LoadDeadline time.Duration
	// StopDeadline is for a clean stop; after it comes SIGKILL.
	StopDeadline time.Duration

	// ChunkserverWait is for how long clients' requests are kept from a master that has
	// just started, for want of chunkservers to put copies on.
	ChunkserverWait time.Duration
	// VersionInterval is how often the holder has the meta version that it
	// serves recorded. Metadata that is older than the last record is never
	// started, so this bounds how old it can be.
	VersionInterval time.Duration
}

// DefaultTiming returns the product's times.
func DefaultTiming() Timing {
	const ms = time.Millisecond

	return Timing{
		RenewInterval:  450 * ms,
		ReportInterval: 450 * ms,
		RenewTimeout:   1200 * ms,
		AliveWithin:    2000 * ms,

		LeaseTTL:      2800 * ms,
		FenceDeadline: 900 * ms,
		ClockMargin:   200 * ms,
		GrantWait:     3900 * ms,
		RestartHold:   15 * time.Second,

		WatchdogTimeout: 15 * time.Second,
		DeadWait:        config.DeadWait,
		GuardMin:        config.MinDeadAfter - config.DeadWait,

		RaftHeartbeat:     1025 * ms,
		RaftElection:      1025 * ms,
		LeaderSilence:     800 * ms,
		UnheardFor:        time.Minute,
		HeartbeatInterval: 510 * ms,
		RaftLeaderLease:   1025 * ms,
		RaftCommit:        3 * time.Second,
		RaftTakeover:      300 * ms,
		RaftIO:            2 * time.Second,
		ApplyTimeout:      2 * time.Second,

		ConnectTimeout:   2 * time.Second,
		HandshakeTimeout: 10 * time.Second,

		TransferDelay:      5 * time.Second,
		SwitchoverDeadline: 30 * time.Second,
		SettleTime:         3 * time.Second,
		DrainTime:          200 * ms,
		GiveUpBackOff:      5 * time.Second,
		GiveUpBackOffMax:   60 * time.Second,

		ReplicaPingInterval: time.Second,
		ReplicaPingTimeout:  500 * ms,
		ReplicaTimeout:      time.Second,

		CompareAfter: 30 * time.Second,
		CompareEvery: 7 * 24 * time.Hour,

		ProbeInterval: 500 * ms,
		ProbeTimeout:  1000 * ms,
		ProbesFailed:  2,

		PromoteDeadline: 10 * time.Second,
		FsckDeadline:    60 * time.Second,
		MountDeadline:   10 * time.Second,
		RecoverDeadline: 60 * time.Second,
		StartDeadline:   30 * time.Second,
		StopDeadline:    10 * time.Second,

		ContainerDeadline: 4 * time.Minute,
		LoadDeadline:      15 * time.Minute,

		ChunkserverWait: 10 * time.Second,
		VersionInterval: 15 * time.Second,
	}
}

// rule is one relation of the table. If it isn't kept, broken says what may
// happen.
type rule struct {
	kept   bool
	broken string
}

// Validate checks the relations between the times. It returns all that are
// broken in one error.
func (t Timing) Validate() error {
	var errs []error

	for _, r := range append(t.safety(), t.service()...) {
		if !r.kept {
			errs = append(errs, errors.New(r.broken))
		}
	}

	if len(errs) > 0 {
		return fmt.Errorf("check the table of times: %w", errors.Join(errs...))
	}

	return nil
}

// safety are the relations without which two masters may serve.
func (t Timing) safety() []rule {
	return []rule{
		{t.positive(), "every time must be more than zero"},
		// The holder's lease ends LeaseTTL after it sent a renewal, which is before
		// the leader answered it; mfsmaster is dead FenceDeadline later. The
		// leader counts from its answer, so all that remains is the difference
		// between two clocks and late timers.
		{
			t.GrantWait >= t.LeaseTTL+t.FenceDeadline+t.ClockMargin,
			"GrantWait < LeaseTTL + FenceDeadline + ClockMargin: the next holder could start while the last one's master runs",
		},
		// The hold is part of the record, so it ends for every leader alike.
		{
			t.RestartHold <= MaxHold,
			"RestartHold > MaxHold: the quorum would refuse every planned restart",
		},
		// antlerd hangs in the very moment in which it should reset its node, having
		// fed the watchdog just before; or the reset takes as long as a master may
		// to die.
		{
			t.DeadWait >= t.WatchdogTimeout+t.FenceDeadline+t.ClockMargin,
			"DeadWait < WatchdogTimeout + FenceDeadline + ClockMargin: a volume could be given to another node while pods of its last one still write",
		},
		{
			t.RaftLeaderLease <= t.RaftHeartbeat,
			"RaftLeaderLease > RaftHeartbeat: two leaders would overlap for longer than they must",
		},
	}
}

// service are the relations without which the holder would stop for no reason,
// or nobody would take over.
func (t Timing) service() []rule {
	probes := time.Duration(t.ProbesFailed) * (t.ProbeInterval + t.ProbeTimeout)

	return []rule{
		// The last renewal is up to one interval old when the leader dies; the holder
		// stands for election after LeaderSilence and leads RaftTakeover later. If its log
		// lacks what another's has, or the others' answers come too late, another one does,
		// once all have missed the leader: after two heartbeat timeouts, more often than not.
		{
			t.LeaseTTL >= 2*t.RaftHeartbeat+t.RaftTakeover+t.RenewInterval,
			"LeaseTTL < 2 RaftHeartbeat + RaftTakeover + RenewInterval: the death of the Raft leader would stop the master",
		},
		{
			t.HeartbeatInterval < t.askAfter() && t.LeaderSilence < t.RaftHeartbeat,
			"3/4 LeaderSilence <= HeartbeatInterval, or LeaderSilence >= RaftHeartbeat: the holder would depose leaders for nothing, or stand too late",
		},
		{
			t.HeartbeatInterval > t.RenewInterval && 2*t.HeartbeatInterval < t.RaftLeaderLease,
			"HeartbeatInterval outside RenewInterval .. RaftLeaderLease/2: heartbeats that nobody needs, or one lost heartbeat would end the leader's term",
		},
		{
			t.RenewTimeout+2*t.RenewInterval <= t.LeaseTTL,
			"RenewTimeout + 2 RenewInterval > LeaseTTL: one lost renewal would stop the master",
		},
		{
			t.AliveWithin >= 3*max(t.RenewInterval, t.ReportInterval) && t.AliveWithin < t.GrantWait,
			"AliveWithin outside 3 RenewInterval, 3 ReportInterval .. GrantWait: dead nodes would be granted epochs, or live ones none",
		},
		{
			t.GuardMin >= t.GrantWait+t.RestartHold,
			"GuardMin < GrantWait + RestartHold: a failover or a restart of antlerd could reset nodes",
		},
		// DRBD promotes a replica that thinks its peer is still there and primary
		// for as long as it thinks so: never.
		{
			t.ReplicaPingInterval+t.ReplicaPingTimeout < t.GrantWait,
			"ReplicaPingInterval + ReplicaPingTimeout >= GrantWait: the next holder would be granted before its replica knows that the peer is gone, and could not promote",
		},
		{
			probes <= 3*time.Second,
			"ProbesFailed * (ProbeInterval + ProbeTimeout) > 3 s: a master that hangs would be noticed too late to keep its promise",
		},
		{
			2*t.StopDeadline+t.SettleTime+t.DrainTime < t.SwitchoverDeadline,
			"2 StopDeadline + SettleTime + DrainTime >= SwitchoverDeadline: a switchover would be dropped while the master still saves or stops",
		},
		{
			t.StartDeadline < t.ContainerDeadline && t.ContainerDeadline < t.LoadDeadline,
			"not StartDeadline < ContainerDeadline < LoadDeadline: a start that gets on would be ended",
		},
		{
			t.ConnectTimeout < t.HandshakeTimeout && t.RenewTimeout < t.HandshakeTimeout,
			"HandshakeTimeout <= ConnectTimeout or RenewTimeout: busy nodes would begin handshakes that none of them ends",
		},
		{
			t.GiveUpBackOff <= t.GiveUpBackOffMax,
			"GiveUpBackOff > GiveUpBackOffMax",
		},
		{
			t.ApplyTimeout > t.RaftHeartbeat,
			"ApplyTimeout <= RaftHeartbeat: commands would be given up in every election",
		},
	}
}

// askAfter is when the holder asks the others whether it would have a quorum without the
// leader: early enough for their answers, and after the next heartbeat should be there.
func (t Timing) askAfter() time.Duration { return t.LeaderSilence * 3 / 4 }

// positive reports whether no time was left out.
func (t Timing) positive() bool {
	for _, d := range []time.Duration{
		t.RenewInterval, t.ReportInterval, t.RenewTimeout, t.AliveWithin, t.LeaseTTL, t.FenceDeadline, t.ClockMargin,
		t.GrantWait, t.RestartHold, t.WatchdogTimeout, t.DeadWait, t.GuardMin, t.RaftHeartbeat, t.RaftElection, t.LeaderSilence, t.UnheardFor, t.HeartbeatInterval, t.RaftLeaderLease,
		t.RaftCommit, t.RaftTakeover, t.RaftIO, t.ConnectTimeout, t.HandshakeTimeout, t.ApplyTimeout, t.TransferDelay, t.SwitchoverDeadline,
		t.GiveUpBackOff, t.GiveUpBackOffMax, t.ReplicaPingInterval, t.ReplicaPingTimeout, t.ReplicaTimeout,
		t.CompareAfter, t.CompareEvery,
		t.ProbeInterval, t.ProbeTimeout, t.PromoteDeadline, t.FsckDeadline, t.MountDeadline,
		t.RecoverDeadline, t.StartDeadline, t.ContainerDeadline, t.LoadDeadline, t.StopDeadline, t.SettleTime,
		t.DrainTime, t.ChunkserverWait, t.VersionInterval,
	} {
		if d <= 0 {
			return false
		}
	}

	return t.ProbesFailed > 0
}
