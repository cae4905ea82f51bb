//go:build vm

package faults

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
)

const (
	root = "../../build/"
	// bootTime and settleTime end a wait for what never comes; they judge no time.
	bootTime   = 5 * time.Minute
	settleTime = 4 * time.Minute
	// defaultDuration of the faults, without boot and checks.
	defaultDuration = 10 * time.Minute
)

// TestEveryFault makes one pass over the catalogue, or as many as TIMES says over what
// ONLY matches of it.
func TestEveryFault(t *testing.T) {
	only, err := regexp.Compile(os.Getenv("ONLY"))
	require.NoError(t, err, "ONLY")

	rounds := slices.DeleteFunc(Catalogue(), func(r Round) bool { return !only.MatchString(r.String()) })
	require.NotEmpty(t, rounds, "nothing in the catalogue matches ONLY=%s", only)

	times, err := strconv.Atoi(cmp.Or(os.Getenv("TIMES"), "1"))
	require.NoError(t, err, "TIMES")

	rounds = slices.Repeat(rounds, times)

	r, stop := newRun(t, "faults", rand.Uint64N(1_000_000))
	defer stop()
	defer r.end()

	r.boot()

	for i, round := range rounds {
		r.cluster.Say("%d of %d", i+1, len(rounds))
		r.round(round)
	}

	r.check("NothingLost", nothingLost)
}

const nothingLost = "nothing that was acknowledged is lost or altered"

// firstSteps are events of a first boot, in order.
var firstSteps = []string{
	"authority.consent", "replication.created", "authority.granted", "replication.promoted", "metadata.formatted",
	"metadata.mounted", "metadata.master-started", "authority.formed", "address.announced",
}

// TestFirstBoot cuts the power of all machines in each step of making a cluster of blank
// disks. They are started again, and nobody has to do anything else.
func TestFirstBoot(t *testing.T) {
	only, err := regexp.Compile(os.Getenv("ONLY"))
	require.NoError(t, err, "ONLY")

	report := &lab.Report{Name: "first-boot"}

	for _, step := range firstSteps {
		if !only.MatchString(step) {
			continue
		}

		t.Run(step, func(t *testing.T) {
			r, stop := newRun(t, "", rand.Uint64N(1_000_000))
			defer stop()

			r.report = report
			defer r.end()

			r.firstBoot(step)
		})
	}
}

func (r *run) firstBoot(step string) {
	ctx, cancel := context.WithTimeout(r.ctx, 2*bootTime)
	defer cancel()

	cluster, err := lab.New(ctx, r.options())
	require.NoError(r, err)

	r.cluster = &lab.Booted{Cluster: cluster}
	told := make(chan error, len(cluster.Machines))

	for _, m := range cluster.Machines {
		require.NoError(r, m.PowerOn())

		go func() { told <- lab.AwaitEvent(ctx, m, 0, step) }()
	}

	require.NoError(r, <-told)

	for _, m := range cluster.Machines {
		cluster.PowerCut(m)
	}

	r.cluster, err = cluster.Boot(ctx)
	require.NoError(r, err)

	r.began = time.Now()
	r.settle("a power cut at " + step)
	r.check("FirstBoot", "a first boot in which all lose their power at "+step+" ends with a cluster")
}

// newRun ends with the test, or at a Ctrl-C.
func newRun(t *testing.T, name string, seed uint64) (*run, context.CancelFunc) {
	t.Helper()

	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)

	return &run{T: t, ctx: ctx, seed: seed, report: &lab.Report{Name: name}}, stop
}

// TestRandomFaults runs rounds of faults for DURATION, from SEED, and then holds
// what the clients were told against what is there.
func TestRandomFaults(t *testing.T) {
	seed, duration := settings(t)
	fmt.Printf("seed %d, for %s: `make soak SEED=%d DURATION=%s` repeats the plan\n", seed, duration, seed, duration)

	r, stop := newRun(t, "soak", seed)
	defer stop()
	defer r.end()

	r.boot()

	for planner := NewPlanner(seed); time.Since(r.began) < duration; {
		r.round(planner.Next())
	}

	r.check("NothingLost", nothingLost)
}

// settings come from the environment, as `make soak` hands them on.
func settings(t *testing.T) (seed uint64, duration time.Duration) {
	t.Helper()

	seed, duration = rand.Uint64N(1_000_000), defaultDuration

	if text := os.Getenv("SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "SEED")

		seed = given
	}

	if text := os.Getenv("DURATION"); text != "" {
		given, err := time.ParseDuration(text)
		require.NoError(t, err, "DURATION")

		duration = given
	}

	return seed, duration
}

// boot a cluster and put clients to work on every machine of it.
func (r *run) boot() {
	ctx, cancel := context.WithTimeout(r.ctx, bootTime)
	defer cancel()

	booted, err := lab.Boot(ctx, r.options())
	if booted != nil {
		r.cluster = booted
	}

	require.NoError(r, err)

	r.began = time.Now()
	r.settle("at first")
}

func (r *run) options() lab.Options {
	image, err := lab.OpenImage(root + "image")
	require.NoError(r, err)

	return lab.Options{Dir: root + "lab/faults", Image: image, Agent: root + "lab/agent", Seed: r.seed, Backup: r.backup, Progress: os.Stdout}
}

// end writes the report, whatever happened, and says everything about a failure.
func (r *run) end() {
	if r.cluster != nil {
		defer r.cluster.Close()
	}

	err := r.report.Write(root+"reports", os.Stdout)
	if err != nil {
		r.Errorf("%v", err)
	}

	if r.cluster != nil {
		r.keepTimeline()
	}

	if r.Failed() && r.cluster != nil {
		fmt.Printf("failed: seed %d\n", r.seed)
		fmt.Print(r.cluster.Tails())
	}
}

// keepTimeline writes down what every node told, and prints where that is.
func (r *run) keepTimeline() {
	path := root + "reports/" + r.report.Name + "-timeline.txt"

	file, err := os.Create(path)
	if err != nil {
		r.Errorf("%v", err)

		return
	}
	defer file.Close()

	lab.PrintTimeline(file, lab.Timeline(r.began, r.cluster.EventsSince(map[string]int{}, r.began)))
	fmt.Println("timeline of all nodes, from when the cluster was up:", path)
}
