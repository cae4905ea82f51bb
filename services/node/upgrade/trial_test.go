package upgrade

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/image/layout"
	"antler/image/slots"
	"antler/services/replication"
)

// healthy is a cluster of three in which n1 serves.
func healthy() *antlerv1.ClusterStatus {
	replica := func() *antlerv1.Replica { return &antlerv1.Replica{Disk: "UpToDate", UpToDate: true} }

	return &antlerv1.ClusterStatus{
		Authority: &antlerv1.Authority{Quorum: true},
		Serving:   &antlerv1.Serving{Node: "n1"},
		Space:     &antlerv1.Space{Chunkservers: 3, ChunkserversExpected: 3},
		Nodes: []*antlerv1.NodeStatus{
			{Name: "n1", Alive: true, Roles: []string{"metadata", "chunkserver"}, Replica: replica()},
			{Name: "n2", Alive: true, Roles: []string{"metadata", "chunkserver"}, Replica: replica()},
			{Name: "n3", Alive: true, Roles: []string{"witness", "chunkserver"}},
		},
	}
}

func TestMissing(t *testing.T) {
	require.Empty(t, Missing(healthy(), "n2"))
	require.Empty(t, MayRestart(healthy(), "n2"))

	for _, tc := range []struct {
		edit          func(*antlerv1.ClusterStatus)
		want, restart string
	}{
		{func(s *antlerv1.ClusterStatus) { s.Authority.Quorum = false }, "no quorum", "no quorum"},
		{func(s *antlerv1.ClusterStatus) { s.Serving.Node = "" }, "no master", "no master"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes = s.Nodes[:1] }, "not in the cluster", "not in the cluster"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[1].Alive = false }, "n2 is not heard of", "n2 is not heard of"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[1].Error = "disk full" }, "n2: disk full", "disk full"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[1].ServicesDown = []string{"chunkserver"} }, "services of n2 are down: chunkserver", "services"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[1].Replica.UpToDate = false }, `the replica of n2 is "UpToDate"`, "replica of n2"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[1].Replica.Disk = "Inconsistent" }, `the replica of n2 is "Inconsistent"`, "replica of n2"},
		{func(s *antlerv1.ClusterStatus) { s.Space.Chunkservers = 2 }, "2 of 3 chunkservers", "2 of 3"},
		// What the others lack is no fault of the new system, but a reason not to restart.
		{func(s *antlerv1.ClusterStatus) { s.Nodes[0].Replica.Disk = "Inconsistent" }, "", "replica of n1"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[2].Alive = false }, "", "n3 is not heard of"},
		{func(s *antlerv1.ClusterStatus) { s.Nodes[0].Replica.Comparison = "different" }, "", "the replicas are not the same"},
	} {
		status := healthy()
		tc.edit(status)

		if tc.want == "" {
			require.Empty(t, Missing(status, "n2"))
		} else {
			require.Contains(t, Missing(status, "n2"), tc.want)
		}

		require.Contains(t, MayRestart(status, "n2"), tc.restart)
	}
}

// Only a restart of the one that serves lets the other one serve.
func TestWhoServesMayNotRestartBeforeTheReplicasAreCompared(t *testing.T) {
	status := healthy()
	status.Nodes[0].Replica.Comparison = string(replication.ComparisonOutstanding)

	require.Contains(t, MayRestart(status, "n1"), "have not been compared yet")
	require.Empty(t, MayRestart(status, "n2"))
	require.Empty(t, Missing(status, "n1"), "what runs is not judged by it")
}

// run is a trial whose answers come from a list by the second; the last one stays.
func run(t *testing.T, answer func(second int) (*antlerv1.ClusterStatus, error)) (took time.Duration, told []string, err error) {
	t.Helper()

	begin := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	now := begin

	err = Trial{
		Node:   "n2",
		Status: func(context.Context) (*antlerv1.ClusterStatus, error) { return answer(int(now.Sub(begin).Seconds())) },
		Tell:   func(missing string) { told = append(told, missing) },
		Now:    func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error {
			now = now.Add(d)

			return nil
		},
	}.Run(context.Background())

	return now.Sub(begin), told, err
}

func TestTrialWaitsForSteadyHealth(t *testing.T) {
	took, told, err := run(t, func(second int) (*antlerv1.ClusterStatus, error) {
		status := healthy()

		switch {
		case second < 20:
			return nil, errors.New("no such socket")
		case second >= 24 && second < 30:
			status.Nodes[1].Replica.Disk = "Inconsistent"
		}

		return status, nil
	})
	require.NoError(t, err)
	require.Equal(t, 40*time.Second, took, "ten seconds after it was healthy for good")
	require.Len(t, told, 4)
}

func TestTrialGivesUp(t *testing.T) {
	took, _, err := run(t, func(int) (*antlerv1.ClusterStatus, error) {
		status := healthy()
		status.Space.Chunkservers = 1

		return status, nil
	})
	require.ErrorContains(t, err, "1 of 3 chunkservers are connected")
	require.InDelta(t, TrialTime.Seconds(), took.Seconds(), 5)
}

func TestTrialGivesUpOnWhatComesAndGoes(t *testing.T) {
	_, _, err := run(t, func(second int) (*antlerv1.ClusterStatus, error) {
		status := healthy()
		status.Authority.Quorum = second%8 < 4

		return status, nil
	})
	require.Error(t, err)
}

func TestRecordSaysHowItEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upgrade.json")
	none, err := ReadRecord(path)
	require.NoError(t, err)
	require.Empty(t, none.describe(slots.Started{Slot: layout.SlotA}, slots.State{Slot: layout.SlotA}))

	require.NoError(t, Record{Slot: layout.SlotB}.Write(path))
	record, err := ReadRecord(path)
	require.NoError(t, err)

	a, b := slots.State{Slot: layout.SlotA}, slots.State{Slot: layout.SlotB}
	require.Contains(t, record.describe(slots.Started{Slot: "a"}, slots.State{Slot: "a", Try: "b"}), "tried at the next start")
	require.Empty(t, record.describe(slots.Started{Slot: "b", Trial: true}, a), "it is being tried")
	require.Contains(t, record.describe(slots.Started{Slot: "a"}, a), "did not get as far as to say why")
	require.Contains(t, record.describe(slots.Started{Slot: "b"}, b), "committed")

	record.Outcome = "given up"
	require.Equal(t, "given up", record.describe(slots.Started{Slot: "a"}, a))
}

func TestNotUpgradable(t *testing.T) {
	require.Contains(t, notUpgradable(slots.Started{}), "write its card anew")
	require.Contains(t, notUpgradable(slots.Started{Slot: "a"}), "boot loader")
	require.Empty(t, notUpgradable(slots.Started{Slot: "a", Loader: true}))
}
