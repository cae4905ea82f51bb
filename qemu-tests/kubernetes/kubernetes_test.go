//go:build vm

// Package kubernetes holds what antlerd promises to Kubernetes against the real
// thing: a cluster of virtual machines with a real MooseFS. Some cases call the
// driver as kubelet does; the others have a real Kubernetes, whose control plane
// runs on the machine that tests and whose kubelets run on the nodes.
package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/controlplane"
	"antler/qemu-tests/lab/history"
	"antler/services/node/config"
)

const (
	root = "../../build/"
	// timeout ends a case that waits for what never comes, and wholeTimeout the suite;
	// they judge no time. A storm of 500 claims takes a quarter of an hour.
	timeout      = 25 * time.Minute
	wholeTimeout = 85 * time.Minute
	// maxVolumes is small, so that csi-sanity reaches it soon.
	maxVolumes = 5
	// memoryMiB of a machine with kubelet and pods.
	memoryMiB = 2048
)

// TestKubernetes boots one cluster, which each case must leave healthy.
func TestKubernetes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), wholeTimeout)
	defer cancel()

	report := &lab.Report{Name: "kubernetes"}

	t.Cleanup(func() { require.NoError(t, report.Write(root+"reports", os.Stdout)) })

	s, ran := boot(ctx, t), 0

	for _, c := range []struct {
		name, promise string
		run           func(*trial)
	}{
		{"Sanity", "csi-sanity finds nothing wrong with the driver on a real MooseFS", (*trial).sanity},
		{"Lifecycle", "quota, expansion, snapshot, restore, clone, one node at a time, delete and undelete work on published volumes", (*trial).lifecycle},
		{"AntlerdRestarted", "a pod's mounts and open files outlive antlerd", (*trial).antlerdRestarted},
		{"MountPerVolume", "a volume with a mount of its own shows its quota in df, outlives antlerd, and leaves no mount and no container; what a mount takes of the memory", (*trial).mountPerVolume},
		{"Adopt", "a directory that somebody else has made becomes a volume with all that is in it, and a pod reads it", (*trial).adopted},
		{"PowerCut", "a power cut of the serving node loses nothing that a writing pod was told is done; only what was under way may fail", (*trial).powerCut},
		{"Provisioning", "how long volumes take, one at a time and in a storm, each made once", (*trial).provisioning},
		{"Claims", "claims become volumes and are bound, are expanded and cloned, and go to the archive or stay", (*trial).claims},
		{"ClaimStorm", "claims in a storm, with a power cut of the serving node in the middle: all are bound, each to one volume", (*trial).claimStorm},
		{"PodPowerCut", "a power cut of the serving node loses nothing that a writing pod was told is done; only what was under way may fail", (*trial).podPowerCut},
		{"PodAntlerdRestarted", "antlerd is restarted and killed under a writing pod", (*trial).podAntlerdRestarted},
		{"PodMoves", "a pod writes on one node; on another one it reads that, and not before the first is gone", (*trial).podMoves},
		{"PodsShare", "two nodes write to one volume at once and see each other", (*trial).podsShare},
		{"PodGroup", "a pod that is nobody special writes as its fsGroup, and reads what root wrote before it", (*trial).podGroup},
		{"PodQuota", "a full volume is EDQUOT in the pod, which goes on when its claim is expanded", (*trial).podQuota},
		{"PodSnapshot", "a VolumeSnapshot of a volume in use is taken, restored and deleted", (*trial).podSnapshot},
		{"PodDeadNode", "a StatefulSet's pod whose node has lost its power for good runs on another one, and reads what was acknowledged", (*trial).podDeadNode},
		{"PodUndelete", "a volume whose claim was deleted comes back with its data", (*trial).podUndelete},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran++

			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()

			k := &trial{T: t, ctx: ctx, suite: s, result: lab.Case{Name: c.name, Promise: c.promise, Figures: map[string]any{}}}

			// In the end, since a failed test doesn't come back from run.
			t.Cleanup(func() {
				k.result.Passed = !t.Failed()
				report.Add(k.result)
				s.cluster.Say("%s passed: %v %v %q", c.name, k.result.Passed, k.result.Figures, k.result.Failures)

				// Also of a run that is ended before all cases have had their turn.
				if err := report.Write(root+"reports", io.Discard); err != nil {
					t.Error(err)
				}

				if t.Failed() {
					fmt.Print(s.cluster.Tails())
					s.clear(t)
				}
			})

			s.cluster.Say("--- %s: %s", c.name, c.promise)
			k.begin()
			c.run(k)
			k.must(s.cluster.AwaitHealthy(ctx))
		})
	}

	require.NotZero(t, ran, "no case was run: none is called as KUBERNETES= says")
}

// suite is what all cases share.
type suite struct {
	cluster *lab.Cluster
	plane   *controlplane.ControlPlane
}

func boot(ctx context.Context, t *testing.T) *suite {
	t.Helper()

	image, err := lab.OpenImage(root + "image")
	require.NoError(t, err)

	var cluster *lab.Cluster

	plane, files := startControlPlane(t, root+"lab/agent", func(ctx context.Context, node string, port int) (net.Conn, error) {
		if !slices.Contains(kubeletNodes, node) {
			return nil, fmt.Errorf("%s is no node with a kubelet", node)
		}

		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", cluster.Machine(node).Forwarded[port]))
	})

	cluster, err = lab.New(ctx, lab.Options{
		Dir: root + "lab/kubernetes", Image: image, Agent: root + "lab/agent", Programs: append(files, root+"lab/csi-sanity"),
		Kubernetes: config.Kubernetes{Enabled: true, MaxVolumes: maxVolumes, Kubeconfig: kubeconfigPath, DeadNode: deadNodePolicy()},
		ReachHost:  true, Forwards: []int{kubeletPort}, MemoryMiB: memoryMiB,
		Seed: uint64(time.Now().UnixNano()), Progress: os.Stdout,
	})
	require.NoError(t, err)
	t.Cleanup(cluster.Close)

	started := time.Now()

	err = cluster.PowerOn(ctx, cluster.Machines...)
	if err == nil {
		_, err = cluster.AwaitServing(ctx, "")
	}

	for _, name := range []string{"n1", "n2"} {
		if err == nil {
			_, err = cluster.Machine(name).Console().Run(ctx, "cp "+lab.ProgramDir+"/antler.kubeconfig "+kubeconfigPath)
		}
	}

	if err == nil {
		err = cluster.AwaitHealthy(ctx)
	}

	if err != nil {
		fmt.Print(cluster.Tails())
	}

	require.NoError(t, err)
	cluster.Say("booted in %.0f s", time.Since(started).Seconds())

	return &suite{cluster: cluster, plane: plane}
}

// trial is one promise on trial.
type trial struct {
	*testing.T
	*suite

	ctx     context.Context
	serving *lab.Machine
	// pods is the machine with the pods: it never serves, since it holds no
	// replica.
	pods   *lab.Machine
	result lab.Case
	// marks are where the consoles were when it began.
	marks map[string]int
}

func (k *trial) begin() {
	serving, err := k.cluster.AwaitServing(k.ctx, "")
	k.must(err)

	k.serving, k.pods, k.marks = serving, k.cluster.Machine("n3"), k.cluster.Marks()
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

	workload, err := k.pods.Work(k.ctx, dir+"/files", k.cluster.Seed, lab.AtEase())
	k.must(err)
	k.Cleanup(func() {
		if k.Failed() {
			workload.Abandon()
		}
	})
	k.must(workload.AwaitAcknowledged(k.ctx, time.Time{}, 50))

	return workload
}

// check holds what the pod's programs were told against what is there. What was
// under way during a fault may have failed, or when a master died for another
// reason: an emulated machine that gets too little time loses its lease.
func (k *trial) check(workload *lab.Workload, faults ...history.Window) {
	k.Helper()

	result, err := workload.Check(k.ctx, k.pods, append(faults, k.cluster.MasterDeaths(k.marks)...)...)
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
