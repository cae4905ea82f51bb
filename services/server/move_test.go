package server

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/replication"
)

func TestSwitchoverEndsWhenTheTargetServes(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	// Without a target it is the other one; any node takes the call.
	last, err := switchover(t.Context(), c.dial("n3", c.files.Admin), "")
	require.NoError(t, err)
	require.True(t, last.Done)
	require.Equal(t, "n2", last.Node)
	require.Equal(t, uint64(6), last.Epoch)
	require.Equal(t, []string{"switchover n2"}, c.node("n3").authority.asked)
}

func TestSwitchoverToWhoServesIsDone(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	last, err := switchover(t.Context(), c.dial("n2", c.files.Admin), "n1")
	require.NoError(t, err)
	require.True(t, last.Done)
	require.Empty(t, c.node("n2").authority.asked)
}

// comparisonIs what n1, which serves, says of the replicas on every node.
func (c *testCluster) comparisonIs(comparison replication.Comparison) {
	for _, n := range c.nodes {
		told := authority.NewNodeReport("n1")
		told.TypedSpec().Alive = true
		told.TypedSpec().Report = healthyReport("n1", "n1", 5)
		told.TypedSpec().Report.Replica.Comparison = string(comparison)
		c.put(n, told)
	}

	c.put(c.node("n1"), replicaOf(authority.ReplicaReport{
		Phase: "up", Role: "Primary", Disk: "UpToDate", Connection: "Connected", PeerDisk: "UpToDate", SyncPercent: 100, Comparison: string(comparison),
	}))
}

func TestSwitchoverWaitsUntilTheReplicasAreCompared(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.comparisonIs(replication.ComparisonOutstanding)

	stream, err := antlerv1.NewClusterServiceClient(c.dial("n3", c.files.Admin)).Switchover(t.Context(), &antlerv1.SwitchoverRequest{})
	require.NoError(t, err)

	reply, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "n1 has yet to compare its replica with that of n2 since they were connected", reply.GetProgress().GetWaiting())
	require.Empty(t, c.node("n3").authority.asked)

	cluster, err := getStatus(t.Context(), c.dial("n1", c.files.Reader))
	require.NoError(t, err)
	require.Equal(t, "outstanding", cluster.GetNodes()[0].GetReplica().GetComparison(), "an upgrade goes by it")

	c.comparisonIs("")

	last, err := followed(stream, nil)
	require.NoError(t, err)
	require.True(t, last.GetDone())
	require.Equal(t, []string{"switchover n2"}, c.node("n3").authority.asked)
}

// What is found to differ is copied, for which they are parted; and whoever serves may fail
// meanwhile.
func TestWhatASwitchoverWaitsFor(t *testing.T) {
	known := func(edit func(*snapshot, *authority.ReplicaReport)) snapshot {
		s := snapshot{authority: healthyAuthority("n3", "n1", 5), reports: map[string]authority.NodeReportSpec{}}

		for _, name := range []string{"n1", "n2"} {
			s.reports[name] = authority.NodeReportSpec{Alive: true, Report: healthyReport(name, "n1", 5)}
		}

		serving := s.reports["n1"]
		edit(&s, &serving.Report.Replica)
		s.reports["n1"] = serving

		return s
	}

	for want, edit := range map[string]func(*snapshot, *authority.ReplicaReport){
		"": func(*snapshot, *authority.ReplicaReport) {},
		"has yet to compare": func(_ *snapshot, r *authority.ReplicaReport) {
			r.Comparison = string(replication.ComparisonOutstanding)
		},
		"lacks acknowledged writes": func(s *snapshot, _ *authority.ReplicaReport) { s.authority.UpToDate = []string{"n1"} },
		"has yet to hear":           func(_ *snapshot, r *authority.ReplicaReport) { r.Connection = "Connecting" },
		"to hear of the replica":    func(_ *snapshot, r *authority.ReplicaReport) { r.Role = "Secondary" },
		"no quorum":                 func(s *snapshot, _ *authority.ReplicaReport) { s.authority.HaveQuorum = false },
		"nobody serves":             func(s *snapshot, _ *authority.ReplicaReport) { s.authority.Holder = "" },
		"n2 takes over":             func(s *snapshot, _ *authority.ReplicaReport) { s.authority.Holder = "n2" },
	} {
		got := known(edit).waitsFor("n2")
		require.Equal(t, want == "", got == "", got)
		require.Contains(t, got, want)
	}

	require.Empty(t, known(func(s *snapshot, r *authority.ReplicaReport) {
		r.Comparison = string(replication.ComparisonOutstanding)
		s.reports["n2"] = authority.NodeReportSpec{}
	}).waitsFor("n2"), "it is down: that is refused")
}

func TestSwitchoverThatIsTiredOfWaitingHasNotBegun(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.comparisonIs(replication.ComparisonOutstanding)

	ctx, cancel := context.WithTimeout(t.Context(), answerTime+100*time.Millisecond)
	defer cancel()

	_, err := switchover(ctx, c.dial("n3", c.files.Admin), "n2")
	require.Equal(t, "NOT_COMPARED", reasonOf(t, err))
	require.Empty(t, c.node("n3").authority.asked)

	last, err := followed(antlerv1.NewClusterServiceClient(c.dial("n3", c.files.Admin)).Switchover(t.Context(), &antlerv1.SwitchoverRequest{Now: true}))
	require.NoError(t, err)
	require.True(t, last.GetDone())
}

func TestSwitchoverIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name, target string
		prepare      func(*testCluster)
		code         codes.Code
		reason       string
	}{
		{"to a node that lacks writes", "n2", func(c *testCluster) {
			spec := healthyAuthority("n1", "n1", 5)
			spec.UpToDate = []string{"n1"}
			c.authorityIs("n1", spec)
		}, codes.FailedPrecondition, "TARGET_NOT_UP_TO_DATE"},
		{"to a node that is down", "n2", func(c *testCluster) {
			c.put(c.node("n1"), authority.NewNodeReport("n2"))
		}, codes.FailedPrecondition, "TARGET_DOWN"},
		{"to a replica that differs", "n2", func(c *testCluster) { c.comparisonIs(replication.ComparisonDifferent) }, codes.FailedPrecondition, "REPLICAS_DIFFER"},
		{"to the witness", "n3", func(*testCluster) {}, codes.InvalidArgument, ""},
		{"to nobody", "n9", func(*testCluster) {}, codes.InvalidArgument, ""},
		{"from nobody", "n2", func(c *testCluster) { c.serve("", 5) }, codes.FailedPrecondition, "NOBODY_SERVES"},
		{"by the quorum", "n2", func(c *testCluster) {
			c.node("n1").authority.refuse = &authority.Rejection{Code: authority.ErrNotUpToDate, Detail: "n2 lacks writes"}
		}, codes.FailedPrecondition, "NOT_UP_TO_DATE"},
		{"when the target fails", "n2", func(c *testCluster) {
			c.node("n1").server.options.Authority = failing{c}
		}, codes.Aborted, "TARGET_FAILED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			c.serve("n1", 5)
			tc.prepare(c)

			_, err := switchover(t.Context(), c.dial("n1", c.files.Admin), tc.target)
			require.Equal(t, tc.code, status.Code(err), err)

			if tc.reason != "" {
				require.Equal(t, tc.reason, reasonOf(t, err))
			}
		})
	}
}

func (c *testCluster) authorityIs(node string, spec authority.AuthorityStatusSpec) {
	status := authority.NewAuthorityStatus()
	*status.TypedSpec() = spec
	c.put(c.node(node), status)
}

// A wish that was on record and is gone, while the holder goes on, was dropped.
// One that this node hasn't heard of yet was not.
func TestDroppedWish(t *testing.T) {
	c := newCluster(t)
	holds := healthyAuthority("n1", "n1", 5)
	wish := holds
	wish.Target = "n2"
	released := healthyAuthority("n1", "", 5)

	for _, tc := range []struct {
		name    string
		seen    []authority.AuthorityStatusSpec
		dropped bool
	}{
		{"not heard of yet", []authority.AuthorityStatusSpec{holds, holds}, false},
		{"on record", []authority.AuthorityStatusSpec{holds, wish}, false},
		{"released", []authority.AuthorityStatusSpec{wish, released}, false},
		{"dropped", []authority.AuthorityStatusSpec{wish, holds}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &move{server: c.node("n1").server, target: "n2", before: holds}

			var err error

			for _, spec := range tc.seen {
				_, err = m.outcome(t.Context(), snapshot{authority: spec}, "switch over to n2")
			}

			if !tc.dropped {
				require.NoError(t, err)

				return
			}

			require.Equal(t, "NOT_RELEASED", reasonOf(t, err))
			require.Equal(t, "switch over to n2: n1 did not stop in time and goes on serving", status.Convert(err).Message())
		})
	}
}

// What is told before the quorum has accepted could be taken for progress.
func TestNothingIsToldBeforeTheMoveIsAccepted(t *testing.T) {
	c := newCluster(t)

	for range 50 { // whichever of the two is looked at first
		events, asked := make(chan Event, 1), make(chan error, 1)
		events <- Event{Kind: "authority.leader", Message: "no leader"}

		asked <- &authority.Rejection{Code: authority.ErrNotUpToDate, Detail: "n2 lacks writes"}

		m := &move{server: c.node("n1").server, target: "n2", send: func(told *antlerv1.Progress) error {
			require.Fail(t, "told", "%v", told)

			return nil
		}}
		require.Equal(t, "NOT_UP_TO_DATE", reasonOf(t, m.follow(t.Context(), "switch over to n2", nil, events, asked)))
	}
}

// failing is a target that takes the epoch and can't serve.
type failing struct{ c *testCluster }

func (f failing) SetTarget(context.Context, string) error {
	failed := healthyAuthority("n1", "", 6)
	failed.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: 6, Failed: true, Reason: "file system is damaged"}}
	f.c.authorityIs("n1", failed)

	return nil
}

func (failing) Restore(context.Context, string, uint64, uint64, string, string) error { return nil }

func (failing) Discard(context.Context, string, string, string) error { return nil }

func (failing) ForceGrant(context.Context, string, string, string) error { return nil }

func failover(ctx context.Context, conn grpc.ClientConnInterface, request *antlerv1.FailoverRequest) (*antlerv1.Progress, error) {
	stream, err := antlerv1.NewClusterServiceClient(conn).Failover(ctx, request)
	if err != nil {
		return nil, err
	}

	for {
		reply, err := stream.Recv()
		if err != nil {
			return nil, err
		}

		if reply.Progress.Done {
			return reply.Progress, nil
		}
	}
}

func TestFailoverNeedsAPersonsWord(t *testing.T) {
	c := newCluster(t)
	c.serve("", 5)

	conn := c.dial("n2", c.files.Admin)

	for _, reason := range []string{"", "n1 burnt"} {
		_, err := failover(t.Context(), conn, &antlerv1.FailoverRequest{Target: "n2", Reason: reason})
		require.Equal(t, "FORCE_NEEDED", reasonOf(t, err))
		require.Contains(t, hintOf(t, err), `antlerctl failover n2 --force --reason "WHY"`, "all that is needed, at once")
	}

	_, err := failover(t.Context(), conn, &antlerv1.FailoverRequest{Target: "n2", Force: true, Reason: " "})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	_, err = failover(t.Context(), conn, &antlerv1.FailoverRequest{Force: true, Reason: "n1 burnt"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Empty(t, c.node("n2").authority.asked)

	done, err := failover(t.Context(), conn, &antlerv1.FailoverRequest{Target: "n2", Force: true, Reason: "n1 burnt"})
	require.NoError(t, err)
	require.Equal(t, uint64(6), done.Epoch)
	require.Equal(t, []string{"force n2 by admin because n1 burnt"}, c.node("n2").authority.asked)
}

// tooOld is a target whose replica lacks what the cluster has served.
type tooOld struct{ failing }

const tooOldReason = "the metadata here ends at version 80, the cluster has served version 100"

func (o tooOld) ForceGrant(context.Context, string, string, string) error {
	o.c.refused()

	return nil
}

// refused has all nodes know that n2 was to serve, and could not.
func (c *testCluster) refused() {
	for name := range c.nodes {
		spec := healthyAuthority(name, "", 6)
		spec.MetaVersion, spec.MetadataID, spec.UpToDate = 100, 7, []string{"n2"}
		spec.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: 6, Failed: true, Reason: tooOldReason, Streak: 1}}
		c.authorityIs(name, spec)
	}
}

func TestFailoverThatTheGuardEndsSaysHowToGoOn(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*testCluster)
		want    string
	}{
		"what has the most": {func(c *testCluster) {
			c.node("n2").metalogger(t, 80)
			c.node("n3").metalogger(t, 99)
		}, "antlerctl metadata restore n3/metalogger --target n2 "},
		"not another file system's": {func(c *testCluster) {
			c.node("n3").placeOf(t, 8, c.node("n3").metadata.Metalogger, "metadata_ml.mfs.back", 200)
			c.node("n2").metalogger(t, 80)
		}, "antlerctl metadata restore n2/metalogger --target n2 "},
		"where to look": {func(*testCluster) {}, "antlerctl metadata sources"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.serve("", 5)
			tc.prepare(c)
			c.node("n3").server.options.Authority = tooOld{failing{c}}

			_, err := failover(t.Context(), c.dial("n3", c.files.Admin), &antlerv1.FailoverRequest{Target: "n2", Force: true, Reason: "n1 burnt"})
			require.Equal(t, "TARGET_FAILED", reasonOf(t, err))
			require.Equal(t, "fail over to n2: it could not serve: "+tooOldReason, status.Convert(err).Message())
			require.Contains(t, hintOf(t, err), tc.want)
		})
	}
}
