//go:build vm

// Package failover holds the promises about failover, each as a test that fits
// on a screen. All share one cluster, which each test must leave healthy.
package failover

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// suite is the one cluster and what was found with it.
var suite struct {
	cluster *lab.Cluster
	volume  string
	report  lab.Report
	seed    uint64
	// broken is the test that left a cluster which doesn't recover, or "".
	broken string
}

const (
	root = "../../build/"
	// timeout ends a test that waits for what never comes; it judges no time.
	timeout = 12 * time.Minute
	// recoverTime is what the cluster gets to become healthy after a failed test.
	recoverTime = 3 * time.Minute
	// shutDownTime is what a machine gets to go off in order.
	shutDownTime = 2 * time.Minute
)

func TestMain(m *testing.M) {
	ctx, cancel := context.WithCancel(context.Background())
	code := runSuite(ctx, m)

	cancel()
	exit(code)
}

func exit(code int) { os.Exit(code) }

// runSuite boots the cluster, runs the tests and writes the report. Ctrl-C ends
// the machines as well.
func runSuite(ctx context.Context, m *testing.M) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	suite.report.Name = cmp.Or(os.Getenv("REPORT"), "failover")
	suite.seed = uint64(time.Now().UnixNano())

	if given, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		suite.seed = given
	}

	fmt.Println("seed", suite.seed)

	defer func() {
		if suite.cluster != nil {
			suite.cluster.Close()
		}
	}()

	interrupted := context.AfterFunc(ctx, func() {
		fmt.Println("interrupted: ending the machines")

		if suite.cluster != nil {
			suite.cluster.Close()
		}

		exit(1)
	})
	defer interrupted()

	err := boot(ctx)
	if err != nil {
		fmt.Println("boot the cluster:", err)

		if suite.cluster != nil {
			fmt.Print(suite.cluster.Tails())
		}

		return 1
	}

	code := m.Run()

	if err = suite.report.Write(root+"reports", os.Stdout); err != nil {
		fmt.Println(err)

		return 1
	}

	return code
}

func boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	image, err := lab.OpenImage(root + "image")
	if err != nil {
		return err
	}

	options := lab.Options{
		Dir: root + "lab/failover", Image: image, Agent: root + "lab/agent", Seed: suite.seed, Progress: os.Stdout,
	}
	roomFor(mostFiles(), &options)

	booted, err := lab.Boot(ctx, options)
	if booted == nil {
		return err
	}

	suite.cluster, suite.volume = booted.Cluster, booted.Volume
	if err != nil {
		return err
	}

	suite.report.Add(lab.Case{
		Name: "FirstBoot", Promise: "blank disks become a serving cluster with no hand on it", Passed: true,
		Figures: map[string]any{"boot_to_serving_s": booted.ToServing.Round(100 * time.Millisecond).Seconds()},
	})

	return nil
}
