//go:build vm

package faults

import (
	"context"
	"errors"
	"fmt"
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
	"antler/services/node/config"
)

// TestHardwareLost takes hardware away for good, and goes the ways that
// docs/recovery.md describes.
func TestHardwareLost(t *testing.T) {
	backup := config.Backup{Every: time.Minute, Keep: 1}

	for name, way := range map[string]struct {
		backup config.Backup
		goes   func(*run)
	}{
		"node":     {goes: (*run).nodeReplaced},
		"replicas": {goes: (*run).bothReplicasLost},
		"backup":   {backup, (*run).backToABackup},
		"anew":     {goes: (*run).formedAnew},
		"apart":    {goes: (*run).splitBrain},
	} {
		t.Run(name, func(t *testing.T) {
			r := &run{T: t, ctx: t.Context(), seed: 1, backup: way.backup, report: &lab.Report{Name: "recovery-" + name}}
			defer r.end()

			r.boot()
			way.goes(r)
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

	before := r.loseReplicas()

	source := r.bestSource()
	r.restoreFrom(source)

	// The status may be a moment older than the source.
	missing := max(before, source.GetVersion()) - source.GetVersion()
	lost := r.lostAfterRestore()
	require.LessOrEqual(r, uint64(lost), missing, "more was lost than it said")
	r.part("BothReplicasLost", "the cluster comes back with what a metalogger had, and says what is missing", map[string]any{
		"served": before, "restored": source.GetVersion(), "said_missing": missing, "lost_operations": lost,
	})
}

// loseReplicas puts blank disks in the place of both replicas, and returns the
// version that was served at last.
func (r *run) loseReplicas() uint64 {
	serving := r.roles()[Serving]
	status, err := r.cluster.Status(r.ctx)
	require.NoError(r, err)

	for _, name := range []string{"n1", "n2"} {
		r.cluster.PowerCut(r.cluster.Machine(name))
		require.NoError(r, r.cluster.ReplaceDisk(r.cluster.Machine(name), "replica", lab.ReplicaSize))
	}

	r.powerOn()
	r.awaitProblem(serving, "nobody can serve")

	return status.GetServing().GetMetaVersion()
}

// restoreFrom goes the way of a person who has picked a source, and returns what
// the plan said is given up.
func (r *run) restoreFrom(source *antlerv1.MetadataSource) []string {
	last := r.restore(&antlerv1.RestoreRequest{Source: source.GetName()})
	require.Equal(r, source.GetVersion(), last.GetPlan().GetSource().GetVersion())

	givenUp := last.GetPlan().GetGivenUp()

	last = r.restore(&antlerv1.RestoreRequest{Source: source.GetName(), LoseAfter: source.GetVersion(), Reason: "a test"})
	require.True(r, last.GetProgress().GetDone())

	r.awaitSettled()

	return givenUp
}

// backToABackup: the serving node has backed its metadata up on schedule, and both
// replicas are lost a while later.
func (r *run) backToABackup() {
	serving := r.roles()[Serving]

	first := r.awaitBackup(serving, 0)
	// A directory that can't be written to is a problem, until it can.
	r.harm(serving, "mount -t tmpfs -o ro none "+config.DefaultBackupDir)
	r.awaitProblem(serving, "no backup of the metadata is being made on "+serving.Name)
	r.harm(serving, "umount "+config.DefaultBackupDir)
	r.awaitSettled()

	second := r.awaitBackup(serving, first.GetVersion())
	require.NotEqual(r, first.GetName(), second.GetName())
	r.cluster.Say("%s reaches %d, %s reaches %d", first.GetName(), first.GetVersion(), second.GetName(), second.GetVersion())

	for name, w := range r.working {
		require.NoError(r, w.AwaitAcknowledged(r.ctx, time.Now(), 20), name)
		require.NoError(r, w.Stop(r.ctx))
	}

	before := r.loseReplicas()
	kept := r.backups(serving)
	require.Len(r, kept, r.backup.Keep)
	require.GreaterOrEqual(r, kept[0].GetVersion(), second.GetVersion())

	givenUp := r.restoreFrom(kept[0])
	require.Contains(r, givenUp[0], fmt.Sprintf("the changes %d to ", kept[0].GetVersion()))

	missing, lost := before-kept[0].GetVersion(), r.lostAfterRestore()
	require.NotZero(r, lost, "with so much done since the backup")
	require.LessOrEqual(r, uint64(lost), missing, "more was lost than it said")
	r.part("BackToABackup", "the cluster comes back with what the last scheduled backup had, and says what is missing", map[string]any{
		"served": before, "restored": kept[0].GetVersion(), "said_missing": missing, "lost_operations": lost,
	})
}

// formedAnew: of the whole cluster a backup and the disks with chunks are left. A new
// one is formed and goes on from them.
func (r *run) formedAnew() {
	serving := r.roles()[Serving]

	for name, w := range r.working {
		require.NoError(r, w.AwaitAcknowledged(r.ctx, time.Now(), 20), name)
		require.NoError(r, w.Stop(r.ctx))
	}

	// Somebody carries it elsewhere, and later onto a new machine: here the way is
	// short.
	const carried = config.StateDir + "/chunks/0/carried"

	r.do(serving, "antlerctl metadata backup "+carried+" && sync")

	status, err := r.cluster.Status(r.ctx)
	require.NoError(r, err)

	for _, m := range r.cluster.Machines {
		r.cluster.PowerCut(m)
	}

	require.NoError(r, r.cluster.Reform(r.ctx))
	r.powerOn()
	r.awaitProblem(serving, "metadata.awaitRestore")
	r.do(serving, fmt.Sprintf("until [ -d %s ]; do sleep 1; done; mkdir -p %s && cp -r %s %s/carried", carried, config.DefaultBackupDir, carried, config.DefaultBackupDir))

	source := r.sourceCalled(serving.Name + "/backup-carried")
	require.GreaterOrEqual(r, source.GetVersion(), status.GetServing().GetMetaVersion())
	r.restoreFrom(source)

	require.Zero(r, r.lostAfterRestore(), "everything was in the backup")
	r.part("FormedAnew", "a new cluster goes on from a backup and the disks with chunks of one that is gone", map[string]any{
		"restored": source.GetVersion(),
	})
}

// do types a command that must succeed.
func (r *run) do(m *lab.Machine, command string) {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	_, err := m.Console().Run(ctx, command)
	require.NoError(r, err, m.Name)
}

// awaitBackup waits for one of the machine that reaches further than the version.
func (r *run) awaitBackup(m *lab.Machine, version uint64) *antlerv1.MetadataSource {
	for began := time.Now(); time.Since(began) < bootTime; r.pass(5 * time.Second) {
		found := r.backups(m)
		if len(found) > 0 && found[0].GetVersion() > version {
			return found[0]
		}
	}

	r.Fatalf("%s makes no backup", m.Name)

	return nil
}

// backups of the machine, the best first.
func (r *run) backups(m *lab.Machine) []*antlerv1.MetadataSource {
	return slices.DeleteFunc(r.sources().GetSources(), func(s *antlerv1.MetadataSource) bool {
		return !strings.HasPrefix(s.GetName(), m.Name+"/backup-")
	})
}

// bestSource is what a person would pick who waits until every node has told what
// it has.
func (r *run) bestSource() *antlerv1.MetadataSource {
	reply := r.sources()

	for _, s := range reply.GetSources() {
		r.cluster.Say("source %s: version %d, lacks %d: %s", s.GetName(), s.GetVersion(), s.GetLostChanges(), s.GetNote()+s.GetProblem())
	}

	best := reply.GetSources()[0]
	require.True(r, strings.HasSuffix(best.GetName(), "/metalogger"), best)
	require.NotZero(r, best.GetVersion())

	return best
}

// sources asks until no node that is on is silent any more: they may have just
// come back.
func (r *run) sources() *antlerv1.ListSourcesResponse {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	client := antlerv1.NewMetadataServiceClient(r.dial())

	for {
		reply, err := client.ListSources(ctx, &antlerv1.ListSourcesRequest{})
		require.NoError(r, err)

		if !slices.ContainsFunc(reply.GetSilent(), func(name string) bool { return r.cluster.Machine(name).On() }) {
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

// awaitHeard waits until the others hear of the machine.
func (r *run) awaitHeard(m *lab.Machine) {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	require.NoError(r, r.cluster.AwaitHeard(ctx, m.Name))
}

// dial connects to the witness, which passes on what others must carry out.
func (r *run) dial() *grpc.ClientConn {
	conn, err := r.cluster.Dial(r.cluster.Machine("n3"))
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })

	return conn
}
