//go:build vm

package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
	"antler/services/node/config"
)

// run is one sequence of faults on one cluster.
type run struct {
	*testing.T

	ctx  context.Context
	seed uint64
	// backup of the metadata; none if it is empty.
	backup  config.Backup
	cluster *lab.Booted
	report  *lab.Report
	began   time.Time
	rounds  int

	// serving is who served last.
	serving *lab.Machine
	// version is the highest meta version that was seen.
	version uint64
	// working are the workloads that go on, by machine; past those that a power
	// cut ended.
	working map[string]*lab.Workload
	past    []*lab.Workload
	windows []history.Window
	// lies are how often the replicas had to be found to differ, because a disk had
	// forgotten what it said it had written, and mayLie how often besides they may be.
	lies, mayLie int
}

// round makes the faults, heals them and, if the plan says so, waits until the
// cluster is whole again.
func (r *run) round(plan Round) {
	r.rounds++

	what := plan.String()
	result := lab.Case{
		Name: fmt.Sprintf("Round%d", r.rounds), Promise: what, Passed: true,
		Figures: map[string]any{"at_s": int(time.Since(r.began).Seconds()), "hold_ms": plan.Hold.Milliseconds()},
	}
	r.cluster.Say("--- round %d: %s, for %s", r.rounds, what, plan.Hold)

	roles, from, marks := r.roles(), time.Now(), r.cluster.Marks()

	var heals []func()

	for i, f := range plan.Faults {
		switch {
		case f.At != "":
			r.awaitEvent(roles[f.On[0]], marks, f.At)
		case i > 0:
			r.pass(plan.Gap)
		}

		heals = append(heals, r.inject(f, roles))
	}

	r.pass(plan.Hold)

	for _, heal := range slices.Backward(heals) {
		heal()
	}

	r.powerOn()

	healed := time.Now()

	if plan.Settle {
		r.settle(what)
		result.Figures["settled_ms"] = time.Since(healed).Milliseconds()
	} else {
		r.pass(plan.Pause)
	}

	// What was under way at any time until now may have failed.
	r.windows = append(r.windows, history.Window{From: from, To: time.Now()})
	r.report.Add(result)
}

// awaitEvent waits until the machine tells of it, for as long as the longest of what is
// begun here takes: one that boots.
func (r *run) awaitEvent(m *lab.Machine, marks map[string]int, kind string) {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	err := lab.AwaitEvent(ctx, m, marks[m.Name], kind)
	if err != nil {
		r.Fatalf("%v", err)
	}
}

// pass lets time pass: faults last.
func (r *run) pass(d time.Duration) {
	select {
	case <-r.ctx.Done():
		r.Fatal("interrupted")
	case <-time.After(d):
	}
}

// roles says which machine is what. While nobody serves, who did last counts.
func (r *run) roles() map[Role]*lab.Machine {
	status, err := r.cluster.Status(r.ctx)
	if err == nil && status.GetServing().GetNode() != "" {
		r.serving = r.cluster.Machine(status.GetServing().GetNode())
	}

	roles := map[Role]*lab.Machine{Serving: r.serving, Standby: r.cluster.Machine("n1"), Witness: r.cluster.Machine("n3")}
	if r.serving == roles[Standby] {
		roles[Standby] = r.cluster.Machine("n2")
	}

	return roles
}

// settle waits until the cluster has healed by itself, holds the meta version
// against what was seen before, and puts clients to work where there are none.
func (r *run) settle(after string) {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	if err := r.cluster.AwaitSettled(ctx); err != nil {
		r.Fatalf("after %s: %v", after, err)
	}

	status, err := r.cluster.Status(ctx)
	if err != nil {
		r.Fatalf("after %s: %v", after, err)
	}

	version := status.GetServing().GetMetaVersion()
	if version < r.version {
		r.Errorf("after %s: the meta version went back from %d to %d", after, r.version, version)
	}

	r.version = version
	r.serving = r.cluster.Machine(status.GetServing().GetNode())
	r.cluster.Say("healed: %s serves in epoch %d, meta version %d", r.serving.Name, status.GetServing().GetEpoch(), version)

	for _, m := range r.cluster.Machines {
		if w := r.working[m.Name]; w != nil && !w.Alive(ctx) {
			r.cluster.Say("%s: its client is gone: the machine has reset itself", m.Name)
			r.over(m)
		}

		if r.working[m.Name] == nil {
			r.work(ctx, m)
		}
	}

	r.goesOn(after)
}

// goesOn waits until every client is answered again: a chunk that was promised to one
// that never heard of it is locked for two minutes (docs/limits.md).
func (r *run) goesOn(after string) {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	since := time.Now()

	for _, m := range r.cluster.Machines {
		if err := r.working[m.Name].AwaitAcknowledged(ctx, since, 1); err != nil {
			_, _ = m.Console().Run(r.ctx, "date; ps -ef | tail -40; for p in $(pidof agent) $(pidof mfsmount) $(pidof mfschunkserver); do for t in /proc/$p/task/*; do echo $t $(cat $t/comm) $(cat $t/wchan); head -6 $t/stack; done; done; netstat -tn; ss -tn")
			r.Fatalf("after %s: %v", after, err)
		}
	}

	r.cluster.Say("all clients are answered after %s", time.Since(since).Round(time.Second))
}

// over notes that the client at work on the machine is no more.
func (r *run) over(m *lab.Machine) {
	if w := r.working[m.Name]; w != nil {
		w.Over()
		r.past = append(r.past, w)
		delete(r.working, m.Name)
	}
}

// work puts a client to work on the machine.
func (r *run) work(ctx context.Context, m *lab.Machine) {
	if err := m.ReadyAgent(ctx); err != nil {
		r.Fatalf("%v", err)
	}

	// Without the mount the client would work on the machine's own disk.
	_, err := m.Console().Run(ctx, fmt.Sprintf("until [ -d %s ]; do sleep 1; done", r.cluster.Volume))
	if err != nil {
		r.Fatalf("wait for the mount on %s: %v", m.Name, err)
	}

	dir := fmt.Sprintf("%s/%s-%d", r.cluster.Volume, m.Name, r.rounds)

	w, err := m.Work(ctx, dir, r.seed+uint64(r.rounds), lab.Load{Workers: 1, Mixed: true})
	if err != nil {
		r.Fatalf("%v", err)
	}

	if r.working == nil {
		r.working = map[string]*lab.Workload{}
	}

	r.working[m.Name] = w

	if err = w.AwaitAcknowledged(ctx, time.Now(), 5); err != nil {
		r.Fatalf("%v", err)
	}
}

// powerOn starts every machine that is off.
func (r *run) powerOn() { r.start(r.cluster.Machines) }

// start those of the machines that are off.
func (r *run) start(machines []*lab.Machine) {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	off := slices.DeleteFunc(slices.Clone(machines), (*lab.Machine).On)

	if err := r.cluster.PowerOn(ctx, off...); err != nil {
		r.Fatalf("%v", err)
	}
}

// awaitServed waits until somebody serves.
func (r *run) awaitServed() {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	serving, err := r.cluster.AwaitServing(ctx, "")
	if err != nil {
		r.Fatalf("%v", err)
	}

	r.cluster.Say("%s serves", serving.Name)
}

// awaitCompared waits until the replicas, as they are connected now, were found to be the
// same, which may have been before this.
func (r *run) awaitCompared() {
	r.await("a comparison", func() bool {
		events := r.cluster.EventsSince(nil, r.began)
		slices.SortFunc(events, func(a, b lab.Event) int { return a.Time.Compare(b.Time) })

		told := false

		for _, event := range events {
			switch event.Kind {
			case "replication.compared":
				told = true
			case "replication.connected", "replication.disconnected", "replication.differed":
				told = false
			}
		}

		return told
	})
}

// awaitDiffered waits until they are found not to be.
func (r *run) awaitDiffered() {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()

	serving, marks := r.roles()[Serving], r.cluster.Marks()

	if err := lab.AwaitEvent(ctx, serving, marks[serving.Name], "replication.differed"); err != nil {
		r.Fatalf("%v", err)
	}
}

// awaitComparing waits until DRBD compares the replicas, and some of them was.
func (r *run) awaitComparing() {
	console := r.roles()[Serving].Console()

	r.await("a comparison", func() bool {
		state, err := console.Run(r.ctx, "drbdsetup events2 --now meta")

		return err == nil && strings.Contains(state, "replication:Verify")
	})
	r.pass(comparingTime)
}

// comparingTime is for a third of the replica.
const comparingTime = 10 * time.Second

func (r *run) await(what string, there func() bool) {
	for deadline := time.Now().Add(settleTime); !there(); r.pass(time.Second) {
		if time.Now().After(deadline) {
			r.Fatalf("there was no sign of %s in %s", what, settleTime)
		}
	}
}
