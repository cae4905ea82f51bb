//go:build vm

// Package kubernetes holds what the CSI driver promises against the real thing:
// a cluster of virtual machines with a real MooseFS, and antlerd's own sockets.
// There is no Kubernetes in it: the tests call the driver as kubelet does.
package kubernetes

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
	"antler/services/node/config"
)

const (
	root = "../../build/"
	// timeout ends a test that waits for what never comes; it judges no time.
	timeout = 11 * time.Minute
	// maxVolumes is small, so that csi-sanity reaches it soon.
	maxVolumes = 5
)

// TestKubernetes boots one cluster, which each case must leave healthy.
func TestKubernetes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*timeout)
	defer cancel()

	report := &lab.Report{Name: "kubernetes"}

	t.Cleanup(func() { require.NoError(t, report.Write(root+"reports", os.Stdout)) })

	cluster := boot(ctx, t)

	for _, c := range []struct {
		name, promise string
		run           func(*trial)
	}{
		{"Sanity", "csi-sanity finds nothing wrong with the driver on a real MooseFS", (*trial).sanity},
		{"Lifecycle", "quota, expansion, snapshot, restore, clone, one node at a time, delete and undelete work on published volumes", (*trial).lifecycle},
		{"AntlerdRestarted", "a pod's mounts and open files outlive antlerd", (*trial).antlerdRestarted},
		{"PowerCut", "a power cut of the serving node costs a writing pod neither an error nor data", (*trial).powerCut},
		{"Provisioning", "how long volumes take, one at a time and in a storm, each made once", (*trial).provisioning},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()

			k := &trial{T: t, ctx: ctx, cluster: cluster, result: lab.Case{Name: c.name, Promise: c.promise, Figures: map[string]any{}}}

			// In the end, since a failed test doesn't come back from run.
			t.Cleanup(func() {
				k.result.Passed = !t.Failed()
				report.Add(k.result)

				if t.Failed() {
					fmt.Print(cluster.Tails())
				}
			})

			cluster.Say("--- %s: %s", c.name, c.promise)
			k.begin()
			c.run(k)
			k.must(cluster.AwaitHealthy(ctx))
		})
	}
}

func boot(ctx context.Context, t *testing.T) *lab.Cluster {
	t.Helper()

	image, err := lab.OpenImage(root + "image")
	require.NoError(t, err)

	cluster, err := lab.New(ctx, lab.Options{
		Dir: root + "lab/kubernetes", Image: image, Agent: root + "lab/agent", Programs: []string{root + "lab/csi-sanity"},
		Kubernetes: config.Kubernetes{Enabled: true, MaxVolumes: maxVolumes},
		Seed:       uint64(time.Now().UnixNano()), Progress: os.Stdout,
	})
	require.NoError(t, err)
	t.Cleanup(cluster.Close)

	started := time.Now()

	err = cluster.PowerOn(ctx, cluster.Machines...)
	if err == nil {
		_, err = cluster.AwaitServing(ctx, "")
	}

	if err == nil {
		err = cluster.AwaitHealthy(ctx)
	}

	if err != nil {
		fmt.Print(cluster.Tails())
	}

	require.NoError(t, err)
	cluster.Say("booted in %.0f s", time.Since(started).Seconds())

	return cluster
}

// trial is one promise on trial.
type trial struct {
	*testing.T

	ctx     context.Context
	cluster *lab.Cluster
	serving *lab.Machine
	// pods is the machine with the pods: it never serves, since it holds no
	// replica.
	pods   *lab.Machine
	result lab.Case
}

func (k *trial) begin() {
	serving, err := k.cluster.AwaitServing(k.ctx, "")
	k.must(err)

	k.serving, k.pods = serving, k.cluster.Machine("n3")
}

func (k *trial) must(err error) {
	k.Helper()

	if err != nil {
		k.fail("%v", err)
		k.FailNow()
	}
}

// fail puts the reason into the report as well.
func (k *trial) fail(format string, args ...any) {
	k.Helper()

	k.result.Failures = append(k.result.Failures, fmt.Sprintf(format, args...))
	k.Errorf(format, args...)
}

// run types a command at the console of the machine with the pods.
func (k *trial) run(format string, args ...any) string {
	k.Helper()

	output, err := k.pods.Console().Run(k.ctx, fmt.Sprintf(format, args...))
	k.must(err)

	return output
}

// work has programs of a pod write below dir. They end with the test at the
// latest: the next one needs the machine.
func (k *trial) work(dir string) *lab.Workload {
	k.Helper()

	workload, err := k.pods.Work(k.ctx, dir+"/files", k.cluster.Seed, 2)
	k.must(err)
	k.Cleanup(func() {
		if k.Failed() {
			workload.Abandon()
		}
	})
	k.must(workload.AwaitAcknowledged(k.ctx, time.Time{}, 50))

	return workload
}

// check holds what the pod's programs were told against what is there.
func (k *trial) check(workload *lab.Workload, faults ...history.Window) {
	k.Helper()

	result, err := workload.Check(k.ctx, k.pods, faults...)
	k.must(err)

	k.result.Figures["acknowledged"] = result.Acknowledged
	k.result.Figures["errors"] = result.Errors
	k.result.Figures["interrupted"] = result.Interrupted
	k.result.Figures["lost"] = len(result.Lost) + len(result.Altered) + len(result.Undone)

	if result.Errors > 0 {
		k.fail("the pod got %d errors", result.Errors)
	}

	if !result.OK() {
		k.fail("lost %v, altered %v, undone %v", result.Lost, result.Altered, result.Undone)
	}
}
