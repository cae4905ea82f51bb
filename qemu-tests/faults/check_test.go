//go:build vm

package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

const (
	// checkTime is for stopping the clients and reading everything back.
	checkTime = 4 * time.Minute
	// copiesTime is for MooseFS to make the copies that are missing: it begins five
	// minutes after a chunkserver was lost (services/metadata/settings.go).
	copiesTime = 8 * time.Minute
)

// check is what counts in the end: the cluster healed, nothing that a client was
// told is untrue, never two masters, and both replicas hold the same.
func (r *run) check(name, promise string) {
	r.settle("everything")

	ctx, cancel := context.WithTimeout(r.ctx, checkTime)
	defer cancel()

	result := lab.Case{Name: name, Promise: promise, Figures: map[string]any{
		"seed": r.seed, "rounds": r.rounds, "duration_s": int(time.Since(r.began).Seconds()), "meta_version": r.version,
	}}

	fail := func(format string, args ...any) {
		result.Failures = append(result.Failures, fmt.Sprintf(format, args...))
		r.Errorf(format, args...)
	}

	for _, w := range r.working {
		if err := w.Stop(ctx); err != nil {
			fail("%v", err)
		}
	}

	suspects := r.readBack(ctx, result.Figures, fail)

	for _, problem := range r.cluster.TwoMasters() {
		fail("two masters: %s", problem)
	}

	for _, fault := range r.cluster.KernelFaults() {
		fail("a kernel died: %s", fault)
	}

	// No failure: with antlerd killed nobody is there to stop the master in time.
	late := r.cluster.LateStops()
	result.Figures["late_stops"] = len(late)

	for _, stop := range late {
		r.cluster.Say("late: %s", stop)
	}

	if err := r.verify(ctx, result.Figures); err != nil {
		fail("%v", err)
	}

	r.fullGoals(result.Figures, fail)
	r.readAgain(suspects, fail)

	result.Passed = !r.Failed()
	r.report.Add(result)
}

// readBack holds all records against what the witness reads, and returns the
// workloads of which something can't be read yet: a chunk whose version was being
// raised when everything lost its power is mended by MooseFS a minute later
// (docs/limits.md).
func (r *run) readBack(ctx context.Context, figures map[string]any, fail func(string, ...any)) (suspects []*lab.Workload) {
	var acknowledged, interrupted, failed, open, unreadable int

	workloads := r.past
	for _, w := range r.working {
		workloads = append(workloads, w)
	}

	r.claims(workloads, figures, fail)

	for _, w := range workloads {
		result, err := w.Check(ctx, r.cluster.Machine("n3"), r.windows...)
		if err != nil {
			fail("%v", err)

			continue
		}

		acknowledged += result.Acknowledged
		interrupted += result.Interrupted
		failed += result.Errors
		open += result.Open
		unreadable += len(result.Lost)

		if !result.OK() {
			r.cluster.Say("%s: at first lost %v, altered %v, undone %v", w.Machine().Name, result.Lost, result.Altered, result.Undone)
			suspects = append(suspects, w)
		}
	}

	if failed > 0 {
		fail("clients got %d errors while there was no fault", failed)
	}

	figures["acknowledged"], figures["interrupted"], figures["errors"] = acknowledged, interrupted, failed
	figures["never_answered"], figures["unreadable_at_first"], figures["clients"] = open, unreadable, len(workloads)
	r.cluster.Say("%d acknowledged by %d clients, %d interrupted, %d errors, %d never answered; unreadable at first %d",
		acknowledged, len(workloads), interrupted, failed, open, unreadable)

	return suspects
}

// claims holds what all clients were told of the names that they share against each other.
func (r *run) claims(workloads []*lab.Workload, figures map[string]any, fail func(string, ...any)) {
	var ops []history.Op
	for _, w := range workloads {
		ops = append(ops, w.Ops()...)
	}

	wrong, undecided := history.Claims(ops, r.windows...)
	for _, what := range wrong {
		fail("%s", what)
	}

	if undecided > 0 {
		fail("of %d names it was not decided in time whether what clients were told can be true", undecided)
	}

	kinds := map[history.Kind]int{}

	for _, op := range ops {
		if op.Acknowledged() {
			kinds[op.Kind]++
		}
	}

	figures["acknowledged_by_kind"] = kinds
}

// readAgain is the last word, when everything has been mended.
func (r *run) readAgain(suspects []*lab.Workload, fail func(string, ...any)) {
	ctx, cancel := context.WithTimeout(r.ctx, checkTime)
	defer cancel()

	for _, w := range suspects {
		result, err := w.Check(ctx, r.cluster.Machine("n3"), r.windows...)
		if err != nil {
			fail("%v", err)

			continue
		}

		if !result.OK() {
			fail("on %s: lost %v, altered %v, undone %v", w.Machine().Name, result.Lost, result.Altered, result.Undone)
		}
	}
}

// fullGoals waits until MooseFS has made all copies again, with no hand.
func (r *run) fullGoals(figures map[string]any, fail func(string, ...any)) {
	ctx, cancel := context.WithTimeout(r.ctx, copiesTime)
	defer cancel()

	began := time.Now()

	if err := r.cluster.AwaitCopies(ctx); err != nil {
		fail("%v", err)
	}

	figures["copies_whole_after_s"] = int(time.Since(began).Seconds())
}

// verify has DRBD compare the replicas block by block, whatever antlerd has found.
func (r *run) verify(ctx context.Context, figures map[string]any) error {
	console := r.roles()[Serving].Console()

	// Antlerd may be at it.
	_, err := console.Run(ctx, fmt.Sprintf("until __DRBD_NODE__=%s drbdadm -c /run/antler/drbd/meta.res -- --start=0 verify meta; do sleep 5; done", r.serving.Name))
	if err != nil {
		return fmt.Errorf("compare the replicas: %w", err)
	}

	state := "replication:Verify"

	for strings.Contains(state, "replication:Verify") {
		r.pass(2 * time.Second)

		state, err = console.Run(ctx, "drbdsetup events2 --now --statistics meta")
		if err != nil {
			return fmt.Errorf("compare the replicas: %w", err)
		}
	}

	if !strings.Contains(state, "out-of-sync:0") || !strings.Contains(state, "connection:Connected") {
		return fmt.Errorf("the replicas differ: %s", state)
	}

	return r.differed(figures)
}

// differed holds what antlerd has found against how often a disk forgot something.
func (r *run) differed(figures map[string]any) error {
	differed := 0

	for _, event := range r.cluster.EventsSince(nil, r.began) {
		if event.Kind == "replication.differed" {
			r.cluster.Say("%s: %s", event.Node, event.Message)

			differed++
		}
	}

	figures["replicas"], figures["replicas_differed"] = "equal", differed

	if differed < r.lies || differed > r.lies+r.mayLie {
		return fmt.Errorf("the replicas were found to differ %d times, and a disk had forgotten something %d times, and may have %d times",
			differed, r.lies, r.mayLie)
	}

	return nil
}
