package authority_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest/observer"

	"antler/services/authority"
)

func TestClusterFormsAndFailsOver(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	for _, n := range []string{"n1", "n2", "n3"} {
		s := c.await(n, "knows it is formed", func(s authority.AuthorityStatusSpec) bool { return s.Formatted })
		require.Equal(t, []string{"n1", "n2"}, s.UpToDate)
		require.Equal(t, "k", s.ClusterID)
	}

	// Leadership is kept off the serving node.
	c.await("n2", "n1 doesn't lead", func(s authority.AuthorityStatusSpec) bool { return s.Leader != "" && s.Leader != "n1" })

	// The holder dies without a word. The next one waits until its lease is over.
	before := time.Now()

	c.nodes["n1"].stop()

	s := c.serves("n2", 2)
	timing := testTiming()
	require.GreaterOrEqual(t, time.Since(before), timing.GrantWait-timing.RenewInterval-timing.RenewTimeout)
	require.Equal(t, "n2", s.Holder)

	// It comes back, and learns that another holds.
	c.start(up, "n1")
	s = c.await("n1", "knows epoch 2", func(s authority.AuthorityStatusSpec) bool { return s.Epoch == 2 })
	require.False(t, s.MayServe() && !s.Starting)
	require.ErrorIs(t, c.nodes["n1"].Outdate(c.ctx(), "n2"), authority.ErrNotHolder)
}

func TestHolderThatIsCutOffStopsBeforeTheNextStarts(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()
	c.network.isolate("n1", true)
	cut := time.Now()

	lost := make(chan time.Time, 1)

	go func() {
		c.await("n1", "loses its lease", func(s authority.AuthorityStatusSpec) bool { return !s.LeaseValid })
		lost <- time.Now()
	}()

	c.serves("n2", 2)

	got := time.Now()

	select {
	case at := <-lost:
		require.GreaterOrEqual(t, got.Sub(at), testTiming().FenceDeadline)
	case <-c.ctx().Done(): // await ended its goroutine, and says why
	}

	// And without a quorum it gets nothing committed.
	ctx, cancel := context.WithTimeout(t.Context(), testTiming().LeaseTTL)
	defer cancel()

	require.Error(t, c.nodes["n1"].Outdate(ctx, "n2"))

	// It can't win, so it doesn't stand: its term would depose the others' leader.
	require.Empty(t, c.nodes["n1"].stood(cut))

	c.network.isolate("n1", false)
	c.await("n1", "learns who holds", func(s authority.AuthorityStatusSpec) bool { return s.Holder == "n2" })
}

func TestLeaderDiesAndTheHolderGoesOn(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	leader := c.await("n2", "n1 doesn't lead", func(s authority.AuthorityStatusSpec) bool { return s.Leader != "" && s.Leader != "n1" }).Leader
	c.nodes[leader].stop()

	c.await("n1", "finds another leader", func(s authority.AuthorityStatusSpec) bool { return s.Leader != "" && s.Leader != leader })
	require.EqualValues(t, 1, c.serves("n1", 1).Epoch)
}

// stood are the times that the node stood in the place of a leader that was silent.
func (n *node) stood(since time.Time) []observer.LoggedEntry {
	return n.log.FilterMessageSnippet("standing for election").Filter(func(e observer.LoggedEntry) bool { return e.Time.After(since) }).All()
}

// The link to the leader is cut and stays so, and no lease is renewed there, while the
// third node hears both: the node that serves goes on, and who leads then stays.
func TestHolderTakesThePlaceOfALeaderThatItDoesNotHear(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	// Raft alone would need longer than a lease lasts.
	for _, n := range c.nodes {
		timing := &n.config.Timing
		timing.RaftHeartbeat, timing.RaftElection = 1900*time.Millisecond, 1900*time.Millisecond
		timing.LeaseTTL, timing.GrantWait = 4500*time.Millisecond, 5500*time.Millisecond
		timing.GuardMin += timing.GrantWait
		timing.UnheardFor = 3 * timing.TransferDelay
	}

	c.formed()

	begun := c.await("n1", "follows the witness", func(s authority.AuthorityStatusSpec) bool { return s.Leader == "n3" })
	// One whose log is behind isn't elected: all that formed the cluster has arrived.
	c.await("n1", "is renewed", func(s authority.AuthorityStatusSpec) bool {
		return s.LeaseUntil.Sub(begun.LeaseUntil) > testTiming().RenewInterval
	})

	c.network.link("n1", "n3", true)
	cut := time.Now()

	c.await("n1", "leads", func(s authority.AuthorityStatusSpec) bool { return s.Leader == "n1" && s.LeaseValid })
	c.await("n1", "hands the leadership to who hears all", func(s authority.AuthorityStatusSpec) bool { return s.Leader == "n2" && s.LeaseValid })
	require.Equal(t, "n3", c.nodes["n2"].Reports()["n1"].Report.Unheard)

	c.network.link("n1", "n3", false)
	c.await("n1", "follows the witness again", func(s authority.AuthorityStatusSpec) bool { return s.Leader == "n3" && s.LeaseValid })
	require.EqualValues(t, 1, c.serves("n1", 1).Epoch)
	require.Len(t, c.nodes["n1"].stood(cut), 1)
}

// All hear what the clock of the node that serves shows, by way of the leader; it hears
// nobody's.
func TestNodesAreToldTheTimeOfTheOneThatServes(t *testing.T) {
	t.Parallel()

	const ahead = time.Hour

	c := newCluster(t)
	heard := make(chan [2]string, 1000)

	for _, n := range c.nodes {
		n.config.Heard = func(from string, at time.Time) {
			if by := time.Until(at); by > ahead-time.Minute && by <= ahead {
				select {
				case heard <- [2]string{n.config.Self, from}:
				default: // enough
				}
			}
		}
	}

	// Only what it tells others is ahead: all else goes by a monotonic clock.
	c.nodes["n1"].config.Wall = func() time.Time { return time.Now().Add(ahead) }
	c.formed()

	ctx := c.ctx()

	for seen := map[string]bool{}; !seen["n2"] || !seen["n3"]; {
		select {
		case who := <-heard:
			require.Equal(t, "n1", who[1])
			require.NotEqual(t, "n1", who[0])

			seen[who[0]] = true
		case <-ctx.Done():
			require.Fail(t, "not all were told", "%v", seen)
		}
	}

	for _, n := range []string{"n2", "n3"} {
		require.Eventually(t, func() bool { return c.nodes[n].Reports()[n].Report.ClockAhead == -ahead }, patience, 10*time.Millisecond, n)
	}
}

func TestSwitchoverNeedsNoWait(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	c.await("n3", "knows epoch 1", func(s authority.AuthorityStatusSpec) bool { return s.Epoch == 1 })
	require.ErrorIs(t, c.nodes["n3"].SetTarget(c.ctx(), "n3"), authority.ErrNotReplica)
	require.NoError(t, c.nodes["n3"].SetTarget(c.ctx(), "n2"))
	c.await("n1", "is asked to hand over", func(s authority.AuthorityStatusSpec) bool { return s.Target == "n2" })

	before := time.Now()

	require.NoError(t, c.nodes["n1"].Release(c.ctx(), "switchover", false))
	require.False(t, c.nodes["n1"].LeaseValid())
	require.Empty(t, c.serves("n2", 2).Target)
	require.Less(t, time.Since(before), testTiming().GrantWait)
}

func TestOutdatedReplicaIsGrantedNothing(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	require.NoError(t, c.nodes["n1"].Outdate(c.ctx(), "n2"))
	c.await("n3", "n2 is outdated", func(s authority.AuthorityStatusSpec) bool { return len(s.UpToDate) == 1 })

	no := func(context.Context) (bool, error) { return false, nil }
	require.NoError(t, c.nodes["n1"].MarkUpToDate(c.ctx(), "n2", no))
	require.Equal(t, []string{"n1"}, c.await("n1", "", func(authority.AuthorityStatusSpec) bool { return true }).UpToDate)

	// The kernel asks to fence while a look at it is on its way: the look loses.
	overtaken := func(ctx context.Context) (bool, error) { return true, c.nodes["n1"].Outdate(ctx, "n2") }
	require.ErrorIs(t, c.nodes["n1"].MarkUpToDate(c.ctx(), "n2", overtaken), authority.ErrStaleObservation)

	c.nodes["n1"].stop()

	s := c.await("n2", "says why nobody serves", func(s authority.AuthorityStatusSpec) bool {
		return s.HaveQuorum && strings.Contains(s.Reason, "n2 lacks acknowledged writes")
	})
	require.Contains(t, s.Reason, "antlerctl failover --force")

	// A person decides.
	require.ErrorIs(t, c.nodes["n2"].ForceGrant(c.ctx(), "n2", "", ""), authority.ErrNobodySigned)
	require.NoError(t, c.nodes["n2"].ForceGrant(c.ctx(), "n2", "ann", "n1 burnt down"))
	require.Equal(t, "ann", c.serves("n2", 2).Audit[0].Who)
}

func TestClusterOfOne(t *testing.T) {
	t.Parallel()

	c := newClusterOf(t, "n1")
	c.start(blank, "n1")
	c.await("n1", "has consent", func(s authority.AuthorityStatusSpec) bool { return s.Phase == authority.PhaseForming })
	c.nodes["n1"].Report(up)
	c.serves("n1", 1)
	require.NoError(t, c.nodes["n1"].Formatted(c.ctx()))

	c.nodes["n1"].stop()
	c.start(up, "n1")
	require.True(t, c.serves("n1", 1).Formatted)
}

func TestNodeThatDoesNotVoteSeesEverything(t *testing.T) {
	t.Parallel()

	c := newClusterOf(t, "n1", "n2", "n3", "n4")
	c.start(blank, "n4")
	c.formed()

	s := c.await("n4", "sees the holder and itself", func(s authority.AuthorityStatusSpec) bool {
		return s.Holder == "n1" && s.Members[0].Alive && s.Members[3].Alive
	})
	require.False(t, s.Voting)
	require.Empty(t, s.Error)
	require.Equal(t, "up", c.nodes["n4"].Reports()["n1"].Report.Replica.Phase)
}

func TestNewRefuses(t *testing.T) {
	good := newCluster(t).nodes["n1"].config

	for name, tc := range map[string]struct {
		change func(*authority.Config)
		want   string
	}{
		"stranger":    {func(c *authority.Config) { c.Self = "n9" }, `node "n9" is not a member`},
		"even number": {func(c *authority.Config) { c.Members = c.Members[:2] }, "2 voters: the number must be odd"},
		"bad times":   {func(c *authority.Config) { c.Timing.LeaseTTL *= 9 }, "check the table of times"},
		"no listener": {func(*authority.Config) {}, "needs a listener"},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			tc.change(&config)

			_, err := authority.New(config)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestForceIsRefusedWhileTheHolderMayServe(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()
	c.await("n3", "knows epoch 1", func(s authority.AuthorityStatusSpec) bool { return s.Epoch == 1 })
	require.ErrorIs(t, c.nodes["n3"].ForceGrant(c.ctx(), "n2", "ann", "impatient"), authority.ErrLeaseRunning)
	c.serves("n1", 1)
}

func TestPlannedRestartKeepsTheEpoch(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	require.NoError(t, c.nodes["n1"].RecordVersion(c.ctx(), 7, 99))
	require.NoError(t, c.nodes["n1"].Hold(c.ctx(), testTiming().RestartHold))

	before := time.Now()

	c.nodes["n1"].stop()

	// Nothing must happen in this time, which is longer than the leader would wait
	// without the hold: the one thing that can't be waited for.
	timer := time.NewTimer(testTiming().GrantWait + testTiming().RenewInterval)
	defer timer.Stop()

	<-timer.C
	c.start(up, "n1")
	c.mayServeUntilLease("n1")

	s := c.serves("n1", 1)
	require.Less(t, time.Since(before), testTiming().RestartHold)
	require.EqualValues(t, 7, s.MetaVersion)

	// The new run ends the hold, so a crash now costs no more than usual.
	c.await("n2", "the hold is over", func(s authority.AuthorityStatusSpec) bool { return s.Hold == 0 })
	c.nodes["n1"].stop()

	before = time.Now()

	c.serves("n2", 2)
	require.Less(t, time.Since(before), testTiming().RestartHold/2)
	require.ErrorIs(t, c.nodes["n2"].RecordVersion(c.ctx(), 6, 99), authority.ErrOldVersion)
	require.ErrorIs(t, c.nodes["n2"].RecordVersion(c.ctx(), 8, 98), authority.ErrForeignMetadata)
	require.NoError(t, c.nodes["n2"].AcceptVersion(c.ctx(), 6, 99, "ann", "restored from a metalogger"))
	require.NoError(t, c.nodes["n2"].RecordVersion(c.ctx(), 6, 99))
}

// mayServeUntilLease holds that a node which was just started leaves what serves
// on it alone until it has a lease of its own.
func (c *cluster) mayServeUntilLease(name string) {
	c.t.Helper()

	for n := c.nodes[name]; ; {
		changed := n.Changed()

		s, _ := n.Status()
		require.True(c.t, s.MayServe(), "%+v", s)

		if s.LeaseValid {
			return
		}

		select {
		case <-changed:
		case <-c.ctx().Done():
			require.Fail(c.t, "no lease")
		}
	}
}

func TestNodeThatFailsIsNotTriedAgainAtOnce(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()

	require.NoError(t, c.nodes["n1"].Release(c.ctx(), "fsck found errors", true))
	s := c.serves("n2", 2)
	require.Equal(t, authority.GiveUp{Epoch: 1, Failed: true, Reason: "fsck found errors", Streak: 1}, s.GiveUps["n1"])
}

// A new cluster that awaits the metadata of another one makes its replicas, and lets
// nobody serve before a person has said from what.
func TestNewClusterAwaitsARestore(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	for _, n := range c.nodes {
		n.config.AwaitRestore = true
	}

	c.start(blank, "n1", "n2", "n3")

	for _, n := range []string{"n1", "n2"} {
		c.await(n, "has consent", func(s authority.AuthorityStatusSpec) bool { return s.Phase == authority.PhaseForming })
		c.nodes[n].Report(up)
	}

	for _, n := range []string{"n1", "n2", "n3"} {
		s := c.await(n, "says what it waits for", func(s authority.AuthorityStatusSpec) bool { return strings.Contains(s.Reason, "metadata.awaitRestore") })
		require.Zero(t, s.Epoch)
	}

	require.NoError(t, c.nodes["n2"].Restore(c.ctx(), "n2", 90, 7, "ann", "the house burnt"))

	s := c.serves("n2", 1)
	require.False(t, s.Formatted, "its file system is still to be made")
	require.EqualValues(t, 90, s.MetaVersion)
	require.EqualValues(t, 7, s.MetadataID)
	require.NoError(t, c.nodes["n2"].Formatted(c.ctx()))

	c.nodes["n2"].stop()
	c.await("n3", "n2's lease is over", func(s authority.AuthorityStatusSpec) bool {
		return strings.Contains(s.Reason, "n1 lacks acknowledged writes")
	})
}
