package authority_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

func TestDefaultTimingIsValid(t *testing.T) {
	require.NoError(t, authority.DefaultTiming().Validate())
}

// The promise: a power cut costs a client at most 8 s, if taking over needs no more
// than 2.5 s and the client's own retry up to 1.2 s: it sends a SYN that
// nobody answers again after 1 s (address.Door).
func TestDefaultTimingKeepsThePromise(t *testing.T) {
	const takeOver, retry, commit = 2500 * time.Millisecond, 1200 * time.Millisecond, 100 * time.Millisecond

	require.LessOrEqual(t, authority.DefaultTiming().GrantWait+commit+takeOver+retry, 8*time.Second)
}

func TestTimingValidateNamesWhatIsBroken(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*authority.Timing)
		want   string
	}{
		"grant too early": {
			func(tm *authority.Timing) { tm.GrantWait -= time.Millisecond },
			"GrantWait < LeaseTTL + FenceDeadline + ClockMargin",
		},
		"lease longer than the wait": {
			func(tm *authority.Timing) { tm.LeaseTTL += time.Millisecond },
			"the next holder could start",
		},
		"fence slower than the wait": {
			func(tm *authority.Timing) { tm.FenceDeadline *= 2 },
			"the next holder could start",
		},
		"election outlives the lease": {
			func(tm *authority.Timing) { tm.RaftHeartbeat *= 2 },
			"the death of the Raft leader would stop the master",
		},
		"stands too late": {
			func(tm *authority.Timing) { tm.LeaderSilence = tm.RaftHeartbeat },
			"the holder would depose leaders for nothing, or stand too late",
		},
		"stands too early": {
			func(tm *authority.Timing) { tm.LeaderSilence = tm.HeartbeatInterval * 4 / 3 },
			"the holder would depose leaders for nothing, or stand too late",
		},
		"one lost heartbeat": {
			func(tm *authority.Timing) { tm.HeartbeatInterval = tm.RaftLeaderLease },
			"one lost heartbeat would end the leader's term",
		},
		"heartbeats between renewals": {
			func(tm *authority.Timing) { tm.HeartbeatInterval = tm.RenewInterval },
			"heartbeats that nobody needs",
		},
		"reports too rare": {
			func(tm *authority.Timing) { tm.ReportInterval = time.Second },
			"AliveWithin outside",
		},
		"one lost renewal": {
			func(tm *authority.Timing) { tm.RenewTimeout = tm.LeaseTTL },
			"one lost renewal would stop the master",
		},
		"handshakes begun anew": {
			func(tm *authority.Timing) { tm.HandshakeTimeout = tm.ConnectTimeout },
			"HandshakeTimeout <= ConnectTimeout",
		},
		"left out": {
			func(tm *authority.Timing) { tm.VersionInterval = 0 },
			"every time must be more than zero",
		},
		"hold longer than accepted": {
			func(tm *authority.Timing) { tm.RestartHold = authority.MaxHold + 1 },
			"RestartHold > MaxHold",
		},
		"link death noticed after the grant": {
			func(tm *authority.Timing) { tm.ReplicaPingInterval = 10 * time.Second },
			"could not promote",
		},
		"called dead before the watchdog is through": {
			func(tm *authority.Timing) { tm.DeadWait = tm.WatchdogTimeout },
			"while pods of its last one still write",
		},
		"reset by a restart of antlerd": {
			func(tm *authority.Timing) { tm.GuardMin = tm.RestartHold },
			"could reset nodes",
		},
		"starts that are ended while they get on": {
			func(tm *authority.Timing) { tm.ContainerDeadline = tm.StartDeadline },
			"a start that gets on would be ended",
		},
		"loads that get no longer than a container": {
			func(tm *authority.Timing) { tm.LoadDeadline = tm.ContainerDeadline },
			"a start that gets on would be ended",
		},
		"slow probes": {
			func(tm *authority.Timing) { tm.ProbesFailed = 3 },
			"a master that hangs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			timing := authority.DefaultTiming()
			tc.change(&timing)
			require.ErrorContains(t, timing.Validate(), tc.want)
		})
	}
}
