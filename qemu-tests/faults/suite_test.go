//go:build vm

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
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

// TestRandomFaults runs rounds of faults for DURATION, from SEED, and then holds
// what the clients were told against what is there.
func TestRandomFaults(t *testing.T) {
	seed, duration := settings(t)
	fmt.Printf("seed %d, for %s: `make test-faults SEED=%d DURATION=%s` repeats the plan\n", seed, duration, seed, duration)

	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	r := &run{T: t, ctx: ctx, seed: seed, report: &lab.Report{Name: "faults"}}
	defer r.end()

	r.boot()

	for planner := NewPlanner(seed); time.Since(r.began) < duration; {
		r.round(planner.Next())
	}

	r.check()
}

// settings come from the environment, as `make test-faults` hands them on.
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

	image, err := lab.OpenImage(root + "image")
	require.NoError(r, err)

	booted, err := lab.Boot(ctx, lab.Options{
		Dir: root + "lab/faults", Image: image, Agent: root + "lab/agent", Seed: r.seed, Backup: r.backup, Progress: os.Stdout,
	})
	if booted != nil {
		r.cluster = booted
	}

	require.NoError(r, err)

	r.began = time.Now()
	r.settle("at first")
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
