//go:build vm

package failover

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

// scenario is one promise on trial: a workload runs on a node that the fault
// doesn't take away.
type scenario struct {
	testing.TB

	ctx      context.Context
	cluster  *lab.Cluster
	serving  *lab.Machine
	workload *lab.Workload
	stopped  bool
	on       *lab.Machine

	// faults so far: what was under way then may have failed.
	faults  []history.Window
	began   time.Time
	marks   map[string]int
	faultAt time.Time
	result  lab.Case
}

// begin starts a workload on the witness and waits until it is well under way.
func begin(t testing.TB, promise string) *scenario {
	t.Helper()

	return beginWhen(t, suite.cluster.AwaitHealthy, promise)
}

// beginWhen waits until the cluster is as ready says.
func beginWhen(t testing.TB, ready func(context.Context) error, promise string) *scenario {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	s := &scenario{
		TB: t, ctx: ctx, cluster: suite.cluster, began: time.Now(),
		result: lab.Case{Name: strings.TrimPrefix(t.Name(), "Test"), Promise: promise, Figures: map[string]any{}},
	}

	t.Cleanup(func() {
		cancel()
		s.end()
	})

	if suite.broken != "" {
		s.Errorf("not run: the cluster has not recovered from %s", suite.broken)
		s.FailNow()
	}

	s.must(ready(ctx))

	s.marks = s.cluster.Marks()
	s.start(s.cluster.Machine("n3"))

	// Only now: what the fault is for is the node that serves when it comes.
	s.must(ready(ctx))

	s.serving = s.served()
	s.cluster.Say("--- %s: %s (%s serves)", t.Name(), promise, s.serving.Name)

	return s
}

func (s *scenario) must(err error) {
	s.Helper()

	if err != nil {
		s.Errorf("%v", err)
		s.FailNow()
	}
}

// Errorf fails the test and puts the reason into the report as well.
func (s *scenario) Errorf(format string, args ...any) {
	s.Helper()

	s.result.Failures = append(s.result.Failures, fmt.Sprintf(format, args...))
	s.TB.Errorf(format, args...)
}

// someOps show that clients are served; and of what was acknowledged before a fault, that
// there is something to lose.
const someOps = 20

func (s *scenario) start(on *lab.Machine) {
	dir := fmt.Sprintf("%s/%s-%d", suite.volume, s.Name(), time.Now().UnixNano())

	workload, err := on.Work(s.ctx, dir, suite.seed, lab.AtEase())
	s.must(err)

	s.workload, s.on, s.stopped = workload, on, false
	s.must(workload.AwaitAcknowledged(s.ctx, s.began, someOps))
}

// stop the workload, if it hasn't been.
func (s *scenario) stop() {
	if !s.stopped {
		s.must(s.workload.Stop(s.ctx))
	}

	s.stopped = true
}

// moveWorkload starts it anew on another node, where the fault will be on this.
func (s *scenario) moveWorkload(on *lab.Machine) {
	s.stop()
	s.start(on)
}

func (s *scenario) otherReplica() *lab.Machine {
	for _, name := range []string{"n1", "n2"} {
		if name != s.serving.Name {
			return s.cluster.Machine(name)
		}
	}

	return nil
}

// leftNothing checks that antlerd had ended all that it had started: what is left holds
// file systems, and systemd waits for it.
func (s *scenario) leftNothing(m *lab.Machine) {
	s.Helper()

	for _, line := range m.Console().Lines(s.marks[m.Name]) {
		if strings.Contains(line.Text, "Waiting for process") {
			s.Errorf("%s was kept from going off: %s", m.Name, line.Text)
		}
	}
}

// handedOver checks that the machine gave up its role by itself before it was off.
func (s *scenario) handedOver(m *lab.Machine, off time.Time) {
	s.Helper()

	for _, event := range s.cluster.EventsSince(s.marks, s.began) {
		if event.Node == m.Name && event.Kind == "replication.demoted" && event.Time.Before(off) {
			return
		}
	}

	s.Errorf("%s went down without handing over", m.Name)
}

// goesOn waits until the workload is served again after the fault, and prints where
// the time went and the client's longest gap.
func (s *scenario) goesOn(fault time.Time, promised time.Duration) {
	s.Helper()

	s.faultAt = fault

	// Answered calls only: one that was under way all along would hide the gap.
	since := fault.Add(promised)
	if now := time.Now(); now.After(since) {
		since = now
	}

	s.must(s.workload.AwaitAcknowledged(s.ctx, since, someOps))

	ops := s.workload.Ops()
	gap, _ := history.LongestGap(ops)
	s.timeline(ops)

	// Not judged here: a test of what may be lost must not fail because its machine
	// is slow. `make bench-failover` judges times.
	s.result.Figures["gap_ms"], s.result.Figures["gap_target_ms"] = gap.Milliseconds(), promised.Milliseconds()
	s.cluster.Say("client's longest gap: %.1f s", gap.Seconds())
}

func (s *scenario) timeline(ops []history.Op) {
	events := s.cluster.EventsSince(s.marks, s.began)

	if first := history.FirstAcknowledged(ops, s.faultAt); !first.IsZero() {
		events = append(events, lab.Event{Time: first, Node: s.on.Name, Kind: "client: first operation begun after the fault is acknowledged"})
	}

	lab.PrintTimeline(os.Stdout, lab.Timeline(s.faultAt, events))
}

// saw checks that a node told of it.
func (s *scenario) saw(kind string) {
	s.Helper()

	if len(s.told(kind)) == 0 {
		s.Errorf("no node told of %s", kind)
	}
}

// neverSaw is saw's opposite.
func (s *scenario) neverSaw(kind string) {
	s.Helper()

	for _, event := range s.told(kind) {
		s.Errorf("%s told of %s: %s", event.Node, kind, event.Message)
	}
}

func (s *scenario) told(kind string) []lab.Event {
	return slices.DeleteFunc(s.cluster.EventsSince(s.marks, s.began), func(e lab.Event) bool { return e.Kind != kind })
}

// served waits until somebody serves, and returns who.
func (s *scenario) served() *lab.Machine {
	s.Helper()

	serving, err := s.cluster.AwaitServing(s.ctx, "")
	s.must(err)

	return serving
}

func (s *scenario) servedBy(m *lab.Machine) {
	s.Helper()

	if serving := s.served(); serving != m {
		s.Errorf("%s serves, want %s", serving.Name, m.Name)
	}
}

// ledBy waits until the machine leads the quorum.
func (s *scenario) ledBy(m *lab.Machine) {
	s.Helper()
	s.must(s.cluster.AwaitLeader(s.ctx, m.Name))
}

// outdated checks that the quorum won't let the machine serve.
func (s *scenario) outdated(m *lab.Machine) {
	s.Helper()

	status, err := s.cluster.Status(s.ctx)
	s.must(err)

	for _, name := range status.GetAuthority().GetUpToDate() {
		if name == m.Name {
			s.Errorf("%s may still serve though it misses what was acknowledged", m.Name)
		}
	}
}

// nobodyServes checks that for a while nothing is acknowledged.
func (s *scenario) nobodyServes(duration time.Duration) {
	s.Helper()

	ctx, cancel := context.WithTimeout(s.ctx, duration)
	defer cancel()

	s.faultAt = time.Now()

	if s.workload.AwaitAcknowledged(ctx, s.faultAt, 1) == nil {
		s.Errorf("an operation was acknowledged though nobody may serve")
	}
}

func (s *scenario) comesBack(since time.Time) {
	s.must(s.workload.AwaitAcknowledged(s.ctx, since, someOps))
	s.timeline(s.workload.Ops())
}

func (s *scenario) powerOn(machines ...*lab.Machine) {
	s.must(s.cluster.PowerOn(s.ctx, machines...))
}

func (s *scenario) healthy() {
	s.must(s.cluster.AwaitHealthy(s.ctx))
	s.cluster.Say("the cluster is healthy again")
}

// nothingLost stops the workload and checks every acknowledged operation, and
// that at no time two masters accepted writes.
func (s *scenario) nothingLost() {
	s.stop()

	died := s.cluster.MasterDeaths(s.marks)

	reader := s.reader()
	s.must(reader.ReadyAgent(s.ctx))

	result, err := s.workload.Check(s.ctx, reader, append(died, s.faults...)...)
	s.must(err)

	s.result.Figures["masters_died"] = len(died)

	s.result.Figures["acknowledged"] = result.Acknowledged
	longest := history.LongestOp(s.workload.Ops())
	s.result.Figures["longest_op_ms"] = longest.Milliseconds()
	s.result.Figures["errors"] = result.Errors
	s.result.Figures["interrupted"] = result.Interrupted
	s.result.Figures["lost"] = len(result.Lost) + len(result.Altered) + len(result.Undone)
	s.cluster.Say("%d acknowledged, the longest after %.1f s, %d errors, %d interrupted, %d never answered; lost %d, altered %d, undone %d",
		result.Acknowledged, longest.Seconds(), result.Errors, result.Interrupted, result.Open, len(result.Lost), len(result.Altered), len(result.Undone))

	for _, op := range result.Failed {
		s.Errorf("the client was told %q of its %s of %s, from %s to %s", op.Err, op.Kind, op.Path, s.since(op.Start), s.since(op.End))
	}

	if !result.OK() {
		s.Errorf("lost %v, altered %v, undone %v", result.Lost, result.Altered, result.Undone)
	}

	for _, problem := range s.cluster.TwoMasters() {
		s.Errorf("two masters: %s", problem)
	}

	for _, fault := range s.cluster.KernelFaults() {
		s.Errorf("a kernel died: %s", fault)
	}
}

// reader is a machine that has not written what is read: nothing of it is in its page
// cache.
func (s *scenario) reader() *lab.Machine {
	for _, m := range s.cluster.Machines {
		if m != s.on && m.On() {
			return m
		}
	}

	return s.on
}

// since is a time of the record as the timeline has it.
func (s *scenario) since(at int64) string {
	return fmt.Sprintf("%+.3f s", time.Unix(0, at).Sub(s.faultAt).Seconds())
}

// end puts the case into the report and says everything about a failure.
func (s *scenario) end() {
	s.result.Passed = !s.Failed() && len(s.result.Failures) == 0
	suite.report.Add(s.result)

	if !s.Failed() || suite.broken != "" {
		return
	}

	fmt.Printf("%s failed: seed %d\n", s.Name(), suite.seed)
	s.printFailures()

	if s.workload != nil {
		if s.faultAt.IsZero() {
			s.faultAt = s.began
		}

		s.timeline(s.workload.Ops())
		s.workload.Abandon()
	}

	fmt.Print(s.cluster.Tails())
	s.recover()

	// Once more, where whoever reads the end of a log finds it.
	s.printFailures()
}

func (s *scenario) printFailures() {
	for _, failure := range s.result.Failures {
		fmt.Printf("%s: %s\n", s.Name(), failure)
	}
}

// recover ends all faults, so that the next test says something of its own. A
// cluster that doesn't come back fails the rest at once.
func (s *scenario) recover() {
	ctx, cancel := context.WithTimeout(context.Background(), recoverTime)
	defer cancel()

	s.cluster.Switch.HealAll()

	for _, m := range s.cluster.Machines {
		if m.On() {
			continue
		}

		if err := s.cluster.PowerOn(ctx, m); err != nil {
			s.cluster.Say("%v", err)
		}
	}

	err := s.cluster.AwaitHealthy(ctx)
	if err == nil && s.workload != nil {
		err = s.workload.AwaitGone(ctx)
	}

	if err != nil {
		suite.broken = s.Name()
		s.cluster.Say("%v", err)
	}
}
