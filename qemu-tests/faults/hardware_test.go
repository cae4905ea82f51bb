//go:build vm

package faults

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

// TestHardwareLost takes hardware away for good, and goes the ways that
// docs/recovery.md describes.
func TestHardwareLost(t *testing.T) {
	for name, way := range map[string]func(*run){"node": (*run).nodeReplaced, "replicas": (*run).bothReplicasLost} {
		t.Run(name, func(t *testing.T) {
			r := &run{T: t, ctx: t.Context(), seed: 1, report: &lab.Report{Name: "recovery-" + name}}
			defer r.end()

			r.boot()
			way(r)
		})
	}
}

// part adds what was shown to the report.
func (r *run) part(name, promise string, figures map[string]any) {
	r.report.Add(lab.Case{Name: name, Promise: promise, Passed: !r.Failed(), Figures: figures})
}

// nodeReplaced: a new machine takes the place of a node with a replica and with
// chunks, while service goes on.
func (r *run) nodeReplaced() {
	m := r.roles()[Standby]
	from := time.Now()

	r.powerCut(m)
	require.NoError(r, r.cluster.Replace(r.ctx, m))
	r.powerOn()
	r.awaitProblem(m, "antlerctl node replace")

	client := antlerv1.NewClusterServiceClient(r.dial())

	plan, err := client.ReplaceNode(r.ctx, &antlerv1.ReplaceNodeRequest{Node: m.Name})
	require.NoError(r, err)
	require.False(r, plan.GetDone())
	require.NotEqual(r, plan.GetOldStore(), plan.GetNewStore())

	done, err := client.ReplaceNode(r.ctx, &antlerv1.ReplaceNodeRequest{Node: m.Name, Forget: plan.GetOldStore(), Reason: "a test"})
	require.NoError(r, err)
	require.True(r, done.GetDone())

	r.windows = append(r.windows, history.Window{From: from, To: time.Now()})
	r.settle("the replacement of " + m.Name)
	r.part("NodeReplaced", "a new machine takes a dead node's place while service goes on", map[string]any{
		"replaced_after_s": int(time.Since(from).Seconds()),
	})
}

// bothReplicasLost: both disks with the metadata are gone; a metalogger is left.
func (r *run) bothReplicasLost() {
	for _, w := range r.working {
		require.NoError(r, w.Stop(r.ctx))
	}

	serving := r.roles()[Serving]
	status, err := r.cluster.Status(r.ctx)
	require.NoError(r, err)

	before := status.GetServing().GetMetaVersion()

	for _, name := range []string{"n1", "n2"} {
		r.cluster.PowerCut(r.cluster.Machine(name))
		require.NoError(r, r.cluster.ReplaceDisk(r.cluster.Machine(name), "replica", lab.ReplicaSize))
	}

	r.powerOn()
	r.awaitProblem(serving, "nobody can serve")

	source := r.bestSource()
	last := r.restore(&antlerv1.RestoreRequest{Source: source.GetName()})
	require.Equal(r, source.GetVersion(), last.GetPlan().GetSource().GetVersion())

	last = r.restore(&antlerv1.RestoreRequest{Source: source.GetName(), LoseAfter: source.GetVersion(), Reason: "a test"})
	require.True(r, last.GetProgress().GetDone())

	r.awaitSettled()

	// The status may be a moment older than the source.
	missing := max(before, source.GetVersion()) - source.GetVersion()
	lost := r.lostAfterRestore()
	require.LessOrEqual(r, uint64(lost), missing, "more was lost than it said")
	r.part("BothReplicasLost", "the cluster comes back with what a metalogger had, and says what is missing", map[string]any{
		"served": before, "restored": source.GetVersion(), "said_missing": missing, "lost_operations": lost,
	})
}

// bestSource is what a person would pick who waits until every node has told what
// it has.
func (r *run) bestSource() *antlerv1.MetadataSource {
	reply := r.sources()

	for _, s := range reply.GetSources() {
		r.cluster.Say("source %s: version %d, lacks %d: %s", s.GetName(), s.GetVersion(), s.GetLostChanges(), s.GetProblem())
	}

	best := reply.GetSources()[0]
	require.True(r, strings.HasSuffix(best.GetName(), "/metalogger"), best)
	require.NotZero(r, best.GetVersion())

	return best
}

// sources asks until no node is silent any more: they may have just come back.
func (r *run) sources() *antlerv1.ListSourcesResponse {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	client := antlerv1.NewMetadataServiceClient(r.dial())

	for {
		reply, err := client.ListSources(ctx, &antlerv1.ListSourcesRequest{})
		require.NoError(r, err)

		if len(reply.GetSilent()) == 0 {
			return reply
		}

		r.cluster.Say("sources: %v are silent", reply.GetSilent())
		r.pass(time.Second)
	}
}

func (r *run) restore(request *antlerv1.RestoreRequest) (last *antlerv1.RestoreResponse) {
	stream, err := antlerv1.NewMetadataServiceClient(r.dial()).Restore(r.ctx, request)
	require.NoError(r, err)

	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}

		require.NoError(r, err)

		last = reply
		for _, line := range reply.GetPlan().GetGivenUp() {
			r.cluster.Say("given up: %s", line)
		}
	}
}

// lostAfterRestore is how many of the acknowledged operations aren't true any more.
func (r *run) lostAfterRestore() int {
	lost := 0

	for _, w := range slices.Concat(r.past, slices.Collect(maps.Values(r.working))) {
		result, err := w.Check(r.ctx, r.cluster.Machine("n3"), r.windows...)
		require.NoError(r, err)

		lost += len(result.Lost) + len(result.Altered) + len(result.Undone)
	}

	return lost
}

func (r *run) awaitSettled() {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	require.NoError(r, r.cluster.AwaitSettled(ctx))
}

// awaitProblem waits until the cluster's status mentions the text.
func (r *run) awaitProblem(m *lab.Machine, text string) {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	require.NoError(r, r.cluster.AwaitProblem(ctx, text), m.Name)
}

// dial connects to the witness, which passes on what others must carry out.
func (r *run) dial() *grpc.ClientConn {
	conn, err := r.cluster.Dial(r.cluster.Machine("n3"))
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })

	return conn
}
