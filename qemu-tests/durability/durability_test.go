//go:build vm

// Package durability measures what each durability setting is worth and what it
// costs: how much of what was acknowledged a power cut of the serving node takes
// along, and how many operations a second clients get.
package durability

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
	"antler/services/node/config"
)

const (
	root    = "../../build/"
	timeout = 10 * time.Minute
	// workers at a time, and how long they work before the power is cut.
	workers  = 2
	workTime = 30 * time.Second
)

// outcome of one setting.
type outcome struct {
	acknowledged, lost int
	perSecond          float64
}

// TestSafeLosesNothing is the one of the two that is a promise. The other
// setting is tried in the same way, so that the loss it is named after can be
// seen, and what safety costs.
func TestSafeLosesNothing(t *testing.T) {
	report := lab.Report{Name: "durability"}

	t.Cleanup(func() { require.NoError(t, report.Write(root+"reports", os.Stdout)) })

	safe := measure(t, config.DurabilitySafe)
	report.Add(lab.Case{
		Name: "Safe", Promise: "no acknowledged operation is lost with the shipped setting",
		Passed: safe.lost == 0 && safe.acknowledged > 0, Figures: safe.figures(),
	})

	lossy := measure(t, config.DurabilityLoseSecondsOnPowerCut)
	figures := lossy.figures()
	figures["safe_rate_percent"] = int(100 * safe.perSecond / lossy.perSecond)
	report.Add(lab.Case{
		Name: "LoseSecondsOnPowerCut", Promise: "what MooseFS's own default loses, and how much faster it is",
		Passed: lossy.acknowledged > 0, Figures: figures,
	})

	require.Zero(t, safe.lost)
	require.Positive(t, safe.acknowledged)
	require.Positive(t, lossy.acknowledged)
}

func (o outcome) figures() map[string]any {
	return map[string]any{
		"acknowledged_before": o.acknowledged, "lost": o.lost, "per_second": float64(int(10*o.perSecond)) / 10,
	}
}

// measure boots a cluster with the setting, has clients work, cuts the power of
// the serving node and counts what is gone.
func measure(t *testing.T, durability config.Durability) outcome {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()

	image, err := lab.OpenImage(root + "image")
	require.NoError(t, err)

	seed := uint64(time.Now().UnixNano())
	c, err := lab.New(ctx, lab.Options{
		Dir: filepath.Join(root, "lab/durability"), Image: image, Agent: root + "lab/agent", Seed: seed,
		Durability: durability, Progress: os.Stdout,
	})
	require.NoError(t, err)

	defer c.Close()
	defer func() {
		if t.Failed() {
			fmt.Printf("seed %d\n%s", seed, c.Tails())
		}
	}()

	c.Say("--- durability %s", durability)
	require.NoError(t, c.PowerOn(ctx, c.Machines...))

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)
	require.NoError(t, c.AwaitHealthy(ctx))

	volume, err := c.CreateVolume(ctx, serving, "lab", 1<<30)
	require.NoError(t, err)

	workload, err := c.Machine("n3").Work(ctx, volume+"/files", seed, lab.Load{Workers: workers})
	require.NoError(t, err)
	require.NoError(t, workload.AwaitAcknowledged(ctx, time.Time{}, 20))

	begin := time.Now()
	rest, stop := context.WithTimeout(ctx, workTime)
	<-rest.Done()
	stop()

	cut := c.PowerCut(serving)
	before := acknowledged(workload.Ops(), begin, cut)

	_, err = c.AwaitServing(ctx, serving.Name)
	require.NoError(t, err)
	require.NoError(t, workload.Stop(ctx))

	result, err := workload.Check(ctx, c.Machine("n3"), history.Window{From: cut, To: time.Now()})
	require.NoError(t, err)

	lost := len(result.Lost) + len(result.Altered) + len(result.Undone)
	c.Say("%d operations acknowledged in %s before the cut, %d of all are lost", before, cut.Sub(begin).Round(time.Second), lost)

	return outcome{acknowledged: before, lost: lost, perSecond: float64(before) / cut.Sub(begin).Seconds()}
}

func acknowledged(ops []history.Op, from, to time.Time) int {
	n := 0

	for _, op := range ops {
		if op.Acknowledged() && op.End >= from.UnixNano() && op.End <= to.UnixNano() {
			n++
		}
	}

	return n
}
