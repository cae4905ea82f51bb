package server

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/metadata/files"
	"antler/services/replication"
)

// splitBrain has n1 serve after a person's word, and n2 back with what only it has.
func splitBrain(t *testing.T) *testCluster {
	t.Helper()

	c := newCluster(t)
	c.serve("n1", 5)

	for _, name := range []string{"n1", "n2", "n3"} {
		spec := healthyAuthority(name, "n1", 5)
		spec.UpToDate = []string{"n1"}
		spec.Audit = []authority.Audit{{Kind: authority.KindForceGrant, Node: "n1", Epoch: 5, Who: "ann", Why: "n2 burnt", At: testTime().Unix()}}
		spec.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: 3, Reason: "its lease ended"}}
		c.authorityIs(name, spec)
	}

	c.apart("n1", true)

	c.node("n2").metadata.aside = files.Source{Name: "n2/backup-replica-7-95", Version: 95, ID: 7, Time: testTime().Add(-time.Hour)}

	return c
}

// apart has all nodes know whether the replicas are.
func (c *testCluster) apart(holder string, apart bool) {
	for name, n := range c.nodes {
		for _, other := range []string{"n1", "n2"} {
			report := authority.NewNodeReport(other)
			report.TypedSpec().Alive = true
			report.TypedSpec().Report = healthyReport(other, holder, 5)
			report.TypedSpec().Report.Replica.SplitBrain = apart
			c.put(n, report)
		}

		if name == "n3" {
			continue
		}

		replica := replication.NewReplicaStatus()
		replica.TypedSpec().SplitBrain = apart
		c.put(n, replica)
	}
}

func TestResolveShowsBothSidesAndThenRecordsTheWord(t *testing.T) {
	c := splitBrain(t)

	// Any node takes the call; the one with the replica to give up carries it out.
	client := antlerv1.NewClusterServiceClient(c.dial("n3", c.files.Admin))

	plan, err := client.ResolveSplitBrain(t.Context(), &antlerv1.ResolveSplitBrainRequest{Keep: "n1"})
	require.NoError(t, err)
	require.False(t, plan.Recorded)
	require.Equal(t, "n2/backup-replica-7-95", plan.Saved)
	require.Equal(t, "n2", plan.Discard.Node)
	require.EqualValues(t, 95, plan.Discard.Version)
	require.Equal(t, []string{
		"its metadata reaches version 95; its last change is of 2026-03-01 11:00:00 UTC",
		"it gave up epoch 3: its lease ended",
		"the quorum does not count on it: writes were acknowledged without it, or a person gave it up",
	}, plan.Discard.Story)
	require.Contains(t, plan.Keep.Story[0], "it serves in epoch 5")
	require.Equal(t, "epoch 5 was given to it by the word of ann at 2026-03-01T12:00:00Z: n2 burnt", plan.Keep.Story[1])
	require.Empty(t, c.node("n2").authority.asked)

	done, err := client.ResolveSplitBrain(t.Context(), &antlerv1.ResolveSplitBrainRequest{Keep: "n1", Discard: "n2", Reason: "n1 was served"})
	require.NoError(t, err)
	require.True(t, done.Recorded)
	require.Equal(t, []string{"discard n2 by admin because n1 was served"}, c.node("n2").authority.asked)
}

func TestResolveIsRefused(t *testing.T) {
	resolve := func(discard, reason string) *antlerv1.ResolveSplitBrainRequest {
		return &antlerv1.ResolveSplitBrainRequest{Keep: "n1", Discard: discard, Reason: reason}
	}

	for _, tc := range []struct {
		name    string
		request *antlerv1.ResolveSplitBrainRequest
		prepare func(*testCluster)
		reason  string
	}{
		{"for a witness", &antlerv1.ResolveSplitBrainRequest{Keep: "n3"}, nil, "BAD_FIELD"},
		{"to the loss of itself", resolve("n1", "why"), nil, "BAD_FIELD"},
		{"without a reason", resolve("n2", " "), nil, "BAD_FIELD"},
		{"to keep what is not served", &antlerv1.ResolveSplitBrainRequest{Keep: "n2"}, nil, "NOT_SERVED"},
		{"while nobody serves", resolve("", ""), func(c *testCluster) { c.serve("", 6); c.apart("", true) }, "NOT_SERVED"},
		{"where there is none", resolve("", ""), func(c *testCluster) { c.apart("n1", false) }, "NO_SPLIT_BRAIN"},
		{"where nothing could be saved", resolve("n2", "why"), func(c *testCluster) {
			c.node("n2").metadata.asideErr = errors.New("no room")
		}, "NOT_SAVED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := splitBrain(t)
			if tc.prepare != nil {
				tc.prepare(c)
			}

			_, err := antlerv1.NewClusterServiceClient(c.dial("n1", c.files.Admin)).ResolveSplitBrain(t.Context(), tc.request)
			require.Error(t, err)
			require.Equal(t, tc.reason, reasonOf(t, err), err)

			for _, name := range []string{"n1", "n2", "n3"} {
				require.Empty(t, c.node(name).authority.asked)
			}
		})
	}
}

func TestResolveIsForAdministrators(t *testing.T) {
	c := splitBrain(t)

	_, err := antlerv1.NewClusterServiceClient(c.dial("n1", c.files.Reader)).ResolveSplitBrain(t.Context(), &antlerv1.ResolveSplitBrainRequest{Keep: "n1"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}
