//go:build vm

package failover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

// A kind of failover, with the steps that it takes.
type takeover struct {
	name, promise string
	// target of the client's longest gap, in the median: what is aimed at. The
	// promises are in failover_test.go.
	target time.Duration
	fault  func(*scenario) time.Time
	steps  []lab.Step
	// heal ends the fault.
	heal func(*scenario)
}

const (
	defaultRounds = 20
	// roundTime ends a round that waits for what never comes, checkTime the check
	// after the last one.
	roundTime, checkTime = 15 * time.Minute, 30 * time.Minute
	// restTime is for what a failover leaves to do: the container of the next start is
	// made some seconds later, and one that is needed meanwhile is waited for.
	restTime = 20 * time.Second
	// answeredOps of the workload after a failover show that it goes on.
	answeredOps = 5
)

var (
	granted    = lab.Step{Name: "granted", Kinds: []string{"authority.granted"}}
	onDisk     = []lab.Step{{Name: "promoted", Kinds: []string{"replication.promoted"}}, {Name: "mounted", Kinds: []string{"metadata.mounted"}}}
	started    = lab.Step{Name: "started", Kinds: []string{"metadata.master-started"}}
	answering  = lab.Step{Name: "answers", Kinds: []string{answers}}
	announced  = lab.Step{Name: "announced", Kinds: []string{"address.announced"}}
	clientStep = lab.Step{Name: "client", Kinds: []string{clientServed}}
)

const (
	answers = "metadata.master-answering"
	// clientServed is the first acknowledgement after the new master's first answer.
	clientServed = "client.served"
)

// takeovers in the order in which they are tried: a switchover saves the metadata,
// so that the others start from that and not from an hour of changes.
var takeovers = []takeover{
	{
		name: "Switchover", promise: "a planned switchover", target: 1500 * time.Millisecond,
		fault: (*scenario).switchOver,
		steps: slices.Concat([]lab.Step{{Name: "saved", Kinds: []string{"metadata.saved"}, MayMiss: true}, {Name: "released", Kinds: []string{"authority.released"}}, granted},
			onDisk, []lab.Step{started, answering, announced, clientStep}),
	},
	{
		name: "PowerCut", promise: "a power cut of the serving node", target: 4 * time.Second,
		fault: func(s *scenario) time.Time { return s.powerCut(s.serving) },
		steps: slices.Concat([]lab.Step{granted}, onDisk, []lab.Step{started, answering, announced, clientStep}),
		heal:  func(s *scenario) { s.powerOn(s.serving) },
	},
	{
		name: "MasterKilled", promise: "a killed mfsmaster", target: 1500 * time.Millisecond,
		fault: func(s *scenario) time.Time { return s.signalMaster("KILL") },
		steps: []lab.Step{{Name: "noticed", Kinds: []string{"metadata.master-stopped"}}, started, answering, clientStep},
	},
	{
		name: "MasterSilent", promise: "an mfsmaster that doesn't answer", target: 4 * time.Second,
		fault: func(s *scenario) time.Time { return s.signalMaster("STOP") },
		steps: []lab.Step{{Name: "noticed", Kinds: []string{"metadata.master-killed"}}, started, answering, clientStep},
	},
}

// BenchmarkTakeover repeats each kind of failover (ROUNDS, 20) with each number of
// files (FILES, "0"), and says how long each step took. It fails where the client's
// longest gap is over its target in the median.
func BenchmarkTakeover(b *testing.B) {
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("ROUNDS"), strconv.Itoa(defaultRounds)))
	if err != nil || rounds < 1 {
		b.Fatalf("ROUNDS is %q: give a number from 1 on", os.Getenv("ROUNDS"))
	}

	all, err := sizes()
	if err != nil {
		b.Fatal(err)
	}

	var missed []string

	for _, files := range all {
		fill(b, files)

		for _, kind := range takeovers {
			b.Run(fmt.Sprintf("%s/%d", kind.name, files), func(b *testing.B) {
				missed = append(missed, kind.measure(b, files, rounds)...)
			})
		}
	}

	for _, miss := range missed {
		b.Error(miss)
	}
}

// measure the rounds of one kind under one workload, and return what missed its
// target.
func (k takeover) measure(b *testing.B, files, rounds int) []string {
	b.Helper()

	s := beginWhen(b, suite.cluster.AwaitSettled, k.promise+" loses nothing, and clients wait no longer than aimed at")

	var all []measured

	for i := range rounds {
		r := k.round(s)
		all = append(all, r)

		s.cluster.Say("%s, round %d of %d: client's longest gap %.1f s, its longest operation %.1f s",
			k.name, i+1, rounds, r.gap.Seconds(), r.longest.Seconds())
	}

	ctx, cancel := context.WithTimeout(b.Context(), checkTime)
	defer cancel()

	s.ctx = ctx
	s.nothingLost()

	s.result.Figures["rounds"], s.result.Figures["files"] = rounds, files
	s.result.Figures["gap_target_ms"] = k.target.Milliseconds()

	gap := k.tell(s, fmt.Sprintf("%s, %d files, %d rounds", k.promise, files, rounds), all)
	b.ReportMetric(gap.Seconds(), "s-gap-median")

	if gap > k.target {
		s.result.Failures = append(s.result.Failures, fmt.Sprintf("%s with %d files: the client's longest gap is %s in the median, aimed at are %s",
			k.promise, files, gap.Round(time.Millisecond), k.target))
	}

	return s.result.Failures
}

// tell prints what the rounds took and puts it into the report. It returns the median
// of the gap.
func (k takeover) tell(s *scenario, title string, all []measured) time.Duration {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer table.Flush()

	fmt.Fprintf(table, "%s\tmedian s\tworst s\t\n", title)

	row := func(figure, title string, of func(measured) time.Duration) time.Duration {
		var times []time.Duration
		for _, m := range all {
			times = append(times, of(m))
		}

		median, worst := lab.Median(times)
		s.result.Figures[figure+"_ms_median"], s.result.Figures[figure+"_ms_worst"] = median.Milliseconds(), worst.Milliseconds()
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t\n", title, median.Seconds(), worst.Seconds())

		return median
	}

	for i, step := range k.steps {
		row(step.Name, step.Name, func(m measured) time.Duration { return m.steps[i] })
	}

	row("operation", "client's longest operation", func(m measured) time.Duration { return m.longest })

	return row("gap", "client's longest gap", func(m measured) time.Duration { return m.gap })
}

// measured is what one failover took.
type measured struct {
	steps []time.Duration
	// gap is the longest time without an answer to any client, longest the longest
	// operation of one.
	gap, longest time.Duration
}

// round is one failover, after which the cluster is whole again and every operation
// that was under way is answered.
func (k takeover) round(s *scenario) measured {
	ctx, cancel := context.WithTimeout(s.Context(), roundTime)
	defer cancel()

	s.ctx = ctx

	serving, err := s.cluster.AwaitServing(ctx, "")
	s.must(err)

	s.serving, s.began = serving, time.Now()
	marks := s.cluster.Marks()

	s.must(s.workload.AwaitAcknowledged(ctx, s.began, answeredOps))

	s.faultAt = k.fault(s)
	m := measured{steps: k.await(s, marks)}

	if k.heal != nil {
		k.heal(s)
	}

	s.must(s.cluster.AwaitSettled(ctx))
	time.Sleep(restTime)

	over := time.Now()
	for history.Open(s.workload.Ops(), over) {
		s.must(s.workload.AwaitAcknowledged(ctx, time.Now(), 1))
	}

	during := history.Since(s.workload.Ops(), s.faultAt)
	m.gap, m.longest = history.GapAround(s.workload.Ops(), s.faultAt, over), history.LongestOp(during)

	return m
}

// await the end of every step, and return what each took.
func (k takeover) await(s *scenario, marks map[string]int) []time.Duration {
	for {
		// Each of these waits is for what has yet to begin.
		waited := s.workload.AwaitAcknowledged(s.ctx, time.Now(), answeredOps)

		times, err := lab.StepTimes(s.faultAt, served(s.cluster.EventsSince(marks, s.began), s.workload.Ops(), s.faultAt), k.steps)
		if err == nil {
			return times
		}

		if waited != nil {
			s.must(errors.Join(waited, err))
		}
	}
}

// served adds the client's own event, if there is one yet.
func served(events []lab.Event, ops []history.Op, fault time.Time) []lab.Event {
	var answered time.Time

	for _, event := range events {
		if event.Kind == answers && event.Time.After(fault) && (answered.IsZero() || event.Time.Before(answered)) {
			answered = event.Time
		}
	}

	if first := history.AcknowledgedAfter(ops, answered); !answered.IsZero() && !first.IsZero() {
		events = append(events, lab.Event{Time: first, Kind: clientServed})
	}

	return events
}

// signalMaster sends mfsmaster a signal, and returns when the machine began to.
func (s *scenario) signalMaster(signal string) time.Time {
	command := "kill -" + signal + " " + s.run(s.serving, "pidof mfsmaster")
	console := s.serving.Console()
	before := console.Len()
	typed := s.harm(s.serving, command)

	for _, line := range console.Lines(before) {
		if strings.Contains(line.Text, lab.CommandBegins) {
			return line.At
		}
	}

	return typed
}

// switchOver asks for a switchover to the other replica, and returns when.
func (s *scenario) switchOver() time.Time {
	to := s.otherReplica()
	asked := time.Now()

	// A round may begin while the replicas are compared.
	s.must(s.cluster.SwitchoverNow(s.ctx, s.serving, to.Name))

	return asked
}
