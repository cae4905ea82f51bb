//go:build vm

package faults

import (
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

// splitBrain: one replica serves without the other and loses its power; a person
// has the other one serve; then the first comes back. Both hold what the other
// doesn't.
func (r *run) splitBrain() {
	roles, from := r.roles(), time.Now()
	first, second := roles[Serving], roles[Standby]

	heal := r.link([]*lab.Machine{first, second}, true, lab.Rule{Cut: true})
	r.awaitProblem(second, "the replica on "+second.Name+" lacks acknowledged writes")
	require.NoError(r, r.working[first.Name].AwaitAcknowledged(r.ctx, time.Now(), 10))

	// The one on the second machine may hang as long as the first one serves.
	for _, m := range []*lab.Machine{first, roles[Witness]} {
		require.NoError(r, r.working[m.Name].Stop(r.ctx))
	}

	status, err := r.cluster.Status(r.ctx)
	require.NoError(r, err)

	r.powerCut(first)
	heal()
	r.awaitProblem(second, "nobody can serve")

	source := r.sourceCalled(roles[Witness].Name + "/metalogger")
	last := r.restore(&antlerv1.RestoreRequest{Source: source.GetName(), Target: second.Name, LoseAfter: source.GetVersion(), Reason: "a test"})
	require.True(r, last.GetProgress().GetDone())
	require.Equal(r, second.Name, last.GetProgress().GetNode())

	// So that the second one has what the first one never had.
	require.NoError(r, r.working[second.Name].AwaitAcknowledged(r.ctx, time.Now(), 10))

	r.powerOn()
	// The second one may tell of it before the first is heard of.
	r.awaitProblem(first, "split brain")
	r.awaitHeard(first)
	r.cluster.Say("%s and %s are apart", first.Name, second.Name)

	r.windows = append(r.windows, history.Window{From: from, To: time.Now()})

	saved := r.resolve(first, second, status.GetServing().GetMetaVersion())
	r.settle("the split brain")

	ctx, cancel := context.WithTimeout(r.ctx, checkTime)
	defer cancel()

	figures := map[string]any{"saved": saved.GetVersion(), "restored": source.GetVersion()}

	for _, w := range r.working {
		require.NoError(r, w.Stop(ctx))
	}

	require.NoError(r, r.verify(ctx, figures))
	r.part("SplitBrain", "two replicas that were written apart stay apart until a person decides; what is given up is saved first", figures)
}

// resolve keeps what the second machine has, and returns where that of the first
// is saved.
func (r *run) resolve(first, second *lab.Machine, version uint64) *antlerv1.MetadataSource {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	client := antlerv1.NewClusterServiceClient(r.dial())

	_, err := client.ResolveSplitBrain(ctx, &antlerv1.ResolveSplitBrainRequest{Keep: first.Name})
	require.ErrorContains(r, err, "does not serve")

	plan, err := client.ResolveSplitBrain(ctx, &antlerv1.ResolveSplitBrainRequest{Keep: second.Name})
	require.NoError(r, err)
	require.False(r, plan.GetRecorded())
	require.Equal(r, first.Name, plan.GetDiscard().GetNode())

	for _, line := range slices.Concat(plan.GetKeep().GetStory(), plan.GetDiscard().GetStory(), plan.GetGivenUp()) {
		r.cluster.Say("split brain: %s", line)
	}

	saved := r.sourceCalled(plan.GetSaved())
	require.GreaterOrEqual(r, saved.GetVersion(), version, "what the first one had served is not all saved")
	require.Equal(r, plan.GetDiscard().GetVersion(), saved.GetVersion())

	// Nothing happens by itself.
	r.pass(10 * time.Second)
	r.awaitProblem(first, "split brain")

	done, err := client.ResolveSplitBrain(ctx, &antlerv1.ResolveSplitBrainRequest{Keep: second.Name, Discard: first.Name, Reason: "a test"})
	require.NoError(r, err)
	require.True(r, done.GetRecorded())

	return saved
}

func (r *run) sourceCalled(name string) *antlerv1.MetadataSource {
	sources := r.sources().GetSources()
	i := slices.IndexFunc(sources, func(s *antlerv1.MetadataSource) bool { return s.GetName() == name })
	require.GreaterOrEqual(r, i, 0, "%s is not among %v", name, sources)

	return sources[i]
}
