//go:build vm

// Package talos boots the extension on real Talos, and holds it to what it promises
// there. All tests share one cluster and go on from where the one before ended.
package talos

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// suite is the one cluster and what was found with it.
var suite struct {
	cluster *lab.Cluster
	report  lab.Report
	// programs is the directory that scripts/build-talos printed.
	programs string
	// volumes were made by the tests before, and acknowledged.
	volumes []string
	// broken is the test that left a cluster from which the others can't go on.
	broken string
}

const (
	root = "../../build/"
	// timeout ends a test that waits for what never comes; it judges no time.
	timeout = 20 * time.Minute
)

func TestMain(m *testing.M) { exit(run(m)) }

func exit(code int) { os.Exit(code) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	suite.report.Name = "talos"

	suite.programs = os.Getenv("ANTLER_TALOS")
	if suite.programs == "" {
		fmt.Println("ANTLER_TALOS: is not set: run `make test-talos`")

		return 1
	}

	image, err := lab.OpenTalos(root + "talos")
	if err != nil {
		fmt.Println(err)

		return 1
	}

	suite.cluster, err = lab.New(ctx, lab.Options{
		Dir: root + "lab/talos", Image: image, Agent: root + "lab/agent", Nodes: nodes(), Seed: 1, Progress: os.Stdout,
	})
	if err != nil {
		fmt.Println("make the machines:", err)

		return 1
	}
	defer suite.cluster.Close()

	interrupted := context.AfterFunc(ctx, func() { suite.cluster.Close(); exit(1) })
	defer interrupted()

	code := m.Run()

	if err = suite.report.Write(root+"reports", os.Stdout); err != nil {
		fmt.Println(err)

		return 1
	}

	return code
}

// nodes of the cluster: ANTLER_NODES=1 is for trying things out.
func nodes() int {
	if os.Getenv("ANTLER_NODES") == "1" {
		return 1
	}

	return 3
}

// begin a test that shows the promise.
func begin(t *testing.T, promise string) (context.Context, *lab.Cluster, map[string]any) {
	t.Helper()

	if suite.broken != "" {
		t.Fatalf("%s left no cluster to go on with", suite.broken)
	}

	if nodes() == 1 && !strings.HasPrefix(t.Name(), "TestANode") {
		t.Skip("takes three nodes")
	}

	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	figures := map[string]any{}

	t.Cleanup(func() {
		cancel()
		suite.report.Add(lab.Case{Name: strings.TrimPrefix(t.Name(), "Test"), Promise: promise, Passed: !t.Failed(), Figures: figures})

		// Also of a run that is ended before all tests have had their turn.
		if err := suite.report.Write(root+"reports", io.Discard); err != nil {
			t.Error(err)
		}

		if t.Failed() {
			suite.broken = t.Name()

			fmt.Print(suite.cluster.Tails())
		}
	})

	return ctx, suite.cluster, figures
}

// talosctl against the machine; a failure ends the test.
func talosctl(ctx context.Context, t *testing.T, m *lab.Machine, args ...string) string {
	t.Helper()

	out, err := suite.cluster.Talosctl(ctx, suite.programs, m, args...)
	if err != nil {
		t.Fatal(m.Name, err)
	}

	return out
}

func seconds(since time.Time) float64 {
	return time.Since(since).Round(100 * time.Millisecond).Seconds()
}
