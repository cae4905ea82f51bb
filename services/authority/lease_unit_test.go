package authority_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

var start = time.Unix(1000, 0)

// held returns a record in which n1 holds epoch 1.
func held(t *testing.T) authority.State { return formed(t) }

func TestLeaderWaitsFromItsElection(t *testing.T) {
	timing := authority.DefaultTiming()
	lease := authority.NewLeaderLease(timing, start, 1)

	require.False(t, lease.MayGrant(start.Add(timing.GrantWait-1), held(t)))
	require.True(t, lease.MayGrant(start.Add(timing.GrantWait), held(t)))
}

func TestLeaderWaitsFromTheLastRenewal(t *testing.T) {
	timing := authority.DefaultTiming()
	lease := authority.NewLeaderLease(timing, start, 1)
	renewed := start.Add(time.Hour)

	require.True(t, lease.Renew(renewed, 1, 1))
	require.False(t, lease.MayGrant(renewed.Add(timing.GrantWait-1), held(t)))
	require.True(t, lease.MayGrant(renewed.Add(timing.GrantWait), held(t)))
}

func TestLeaderWaitsForAHold(t *testing.T) {
	timing := authority.DefaultTiming()
	lease := authority.NewLeaderLease(timing, start, 1)
	s := apply(t, held(t), authority.Command{Kind: authority.KindHold, Epoch: 1, Node: "n1", HoldMS: 15_000, Seq: 1})

	require.Equal(t, start.Add(timing.GrantWait+15*time.Second), lease.GrantAt(s))
}

func TestNoRenewalAfterTheDecisionToGrant(t *testing.T) {
	lease := authority.NewLeaderLease(authority.DefaultTiming(), start, 1)
	lease.Close(1)
	require.False(t, lease.Renew(start, 1, 1))

	lease.Close(1) // a second grant, by a person
	lease.Reopen(1)
	require.False(t, lease.Renew(start, 1, 1), "one of two grants may yet apply")

	lease.Reopen(1)
	require.True(t, lease.Renew(start, 1, 1))
}

func TestReleaseByTheRunThatRenewedNeedsNoWait(t *testing.T) {
	released := apply(t, held(t), authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1"})
	lease := authority.NewLeaderLease(authority.DefaultTiming(), start, 1)

	require.True(t, lease.Renew(start, 1, 7))
	require.True(t, lease.Release(1, 7))
	require.False(t, lease.Renew(start, 1, 7), "renewed after its release")
	require.False(t, lease.MayGrant(start, held(t)), "before the release is committed")
	require.True(t, lease.MayGrant(start, released))
}

func TestReleaseByAnotherRun(t *testing.T) {
	released := apply(t, held(t), authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1"})
	lease := authority.NewLeaderLease(authority.DefaultTiming(), start, 1)

	require.True(t, lease.Renew(start, 1, 7))
	require.False(t, lease.Renew(start, 1, 6), "delayed renewal of an earlier run")
	require.False(t, lease.Release(1, 6), "delayed release of an earlier run")
	require.True(t, lease.Release(1, 8), "a run that never renewed")
	require.False(t, lease.MayGrant(start, released), "but the leases of run 7 may still be valid")
}

func TestHolderCountsFromWhenItSent(t *testing.T) {
	timing := authority.DefaultTiming()

	var lease authority.HolderLease

	require.False(t, lease.Valid(start, 0))
	require.False(t, lease.Valid(start, 1))

	lease.Answered(timing, 1, start)
	lease.Answered(timing, 1, start.Add(-time.Second)) // a late answer to an earlier one

	require.True(t, lease.Valid(start.Add(timing.LeaseTTL-1), 1))
	require.False(t, lease.Valid(start.Add(timing.LeaseTTL), 1))
	require.False(t, lease.Valid(start, 2))

	lease.Learn(2)
	require.False(t, lease.Valid(start, 1))
}

func TestAbandonedEpochNeverComesBack(t *testing.T) {
	timing := authority.DefaultTiming()

	var lease authority.HolderLease

	lease.Answered(timing, 1, start)
	lease.Abandon(1)
	lease.Answered(timing, 1, start)
	require.False(t, lease.Valid(start, 1))

	lease.Answered(timing, 2, start)
	require.True(t, lease.Valid(start, 2))
}
