package command

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

func testTime() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func healthy() *antlerv1.ClusterStatus {
	replica := func(role string) *antlerv1.Replica {
		return &antlerv1.Replica{Phase: "up", Role: role, Disk: "UpToDate", Connection: "Connected", SyncPercent: 100, UpToDate: true}
	}

	return &antlerv1.ClusterStatus{
		Name: "home", AnsweredBy: "n1", Time: timestamppb.New(testTime()), Health: antlerv1.Health_HEALTH_OK,
		Serving: &antlerv1.Serving{
			Node: "n1", Epoch: 5, Since: timestamppb.New(testTime().Add(-26 * time.Hour)), Phase: "serving",
			Addresses: []string{"192.168.1.250/24"}, MasterVersion: "4.57.5",
		},
		Authority: &antlerv1.Authority{Formed: true, Quorum: true, Leader: "n3", Epoch: 5, Holder: "n1", Voters: 3, VotersAlive: 3},
		Nodes: []*antlerv1.NodeStatus{
			{Name: "n1", Address: "192.168.1.11", Roles: []string{"metadata", "chunkserver"}, Alive: true, Serving: true, Replica: replica("Primary")},
			{Name: "n2", Address: "192.168.1.12", Roles: []string{"metadata", "chunkserver"}, Alive: true, Replica: replica("Secondary")},
			{Name: "n3", Address: "192.168.1.13", Roles: []string{"witness", "chunkserver"}, Alive: true, Leader: true},
		},
		Space: &antlerv1.Space{TotalBytes: 3 << 40, FreeBytes: 5 << 39, Chunks: 1234, Chunkservers: 3, ChunkserversExpected: 3},
	}
}

func degraded() *antlerv1.ClusterStatus {
	c, _ := proto.Clone(healthy()).(*antlerv1.ClusterStatus)
	c.Health = antlerv1.Health_HEALTH_DEGRADED
	c.Nodes[1].Replica = &antlerv1.Replica{Phase: "up", Role: "Secondary", Disk: "Inconsistent", Connection: "Connected", SyncPercent: 45.2}
	c.Nodes[2].Alive, c.Nodes[2].Leader = false, false
	c.Nodes[0].Leader = true
	c.Nodes[1].ServicesDown = []string{"chunkserver"}
	c.Authority.Leader, c.Authority.VotersAlive = "n1", 2
	c.Space.Chunkservers = 1
	c.Problems = []*antlerv1.Problem{
		{Severity: antlerv1.Problem_SEVERITY_ERROR, Node: "n3", Summary: "n3 was not heard of since 2026-03-01T11:58:00Z", Advice: "look at its power, its console and its network; it comes back by itself"},
		{Severity: antlerv1.Problem_SEVERITY_WARNING, Node: "n2", Summary: "the replica on n2 is being made equal, 45 % are done", Advice: "wait: until then only one replica holds everything"},
	}

	return c
}

func down() *antlerv1.ClusterStatus {
	c, _ := proto.Clone(healthy()).(*antlerv1.ClusterStatus)
	c.Health = antlerv1.Health_HEALTH_DOWN
	c.Serving = &antlerv1.Serving{Epoch: 5}
	c.Authority = &antlerv1.Authority{Formed: true, Epoch: 5, Voters: 3, VotersAlive: 1}
	c.Space = &antlerv1.Space{ChunkserversExpected: 3}
	c.Nodes[0].Alive, c.Nodes[0].Serving = false, false
	c.Nodes[1].Replica = &antlerv1.Replica{Phase: "refused", Error: "/dev/vdb holds ext4"}
	c.Nodes[2].Alive, c.Nodes[2].Leader = false, false
	c.Problems = []*antlerv1.Problem{{Severity: antlerv1.Problem_SEVERITY_ERROR, Summary: "the replica on n2: /dev/vdb holds ext4: use a blank disk"}}

	return c
}

// golden compares with testdata/NAME; `go test ./cmd/... -update` writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()

	path := filepath.Join("testdata", name)

	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}

	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestScreen(t *testing.T) {
	for name, status := range map[string]*antlerv1.ClusterStatus{"healthy": healthy(), "degraded": degraded(), "down": down()} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer

			require.NoError(t, screen(&out, status))
			golden(t, "status-"+name+".txt", out.String())
		})
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Millisecond: "1s",
		90 * time.Second:        "1m30s",
		125 * time.Minute:       "2h5m",
		50 * time.Hour:          "2d2h",
	} {
		require.Equal(t, want, span(d))
	}
}
