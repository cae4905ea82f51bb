//go:build controlplane

// Package provisioner holds what antlerd's provisioner promises against a real
// Kubernetes control plane on loopback addresses. The volumes are on a directory that stands for MooseFS;
// there is no kubelet.
package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/controlplane"
)

const (
	root      = "../../../build/"
	base      = "../../../deploy/kubernetes/base"
	namespace = controlplane.Namespace
	// timeout ends a test that waits for what never comes; it judges no time.
	timeout = 5 * time.Minute
)

// suite is what all cases share.
type suite struct {
	*controlplane.ControlPlane

	// volumes is the directory that stands for MooseFS, kubeconfig what the
	// provisioner has: the rights in deploy/kubernetes, and no others.
	volumes, kubeconfig string
	n1                  *node
}

// trial is one case.
type trial struct {
	*testing.T
	*suite

	ctx    context.Context
	result lab.Case
}

func TestProvisioner(t *testing.T) {
	report := &lab.Report{Name: "provisioner"}

	t.Cleanup(func() { require.NoError(t, report.Write(root+"reports", os.Stdout)) })

	s := start(t)
	s.n1 = serve(t, s.volumes, s.kubeconfig, "n1", 1)

	for _, c := range []struct {
		name, promise string
		run           func(*trial)
	}{
		{"Bound", "a claim becomes a volume and is bound, one at a time", (*trial).boundOneByOne},
		{"Delete", "a deleted claim's volume goes to the archive, and its persistent volume goes", (*trial).deleted},
		{"Retain", "a retained volume stays until somebody says that it may go", (*trial).retained},
		{"WrongParameters", "what is wrong with a class stands in an event on the claim, which can be deleted", (*trial).wrongParameters},
		{"Expand", "a claim that asks for more gets it, without a pod or a node", (*trial).expanded},
		{"AttributesClass", "a bound claim gets what another VolumeAttributesClass says, and what can't be carried out is said", (*trial).attributesChanged},
		{"FirstConsumer", "with WaitForFirstConsumer the volume waits for a node of this cluster", (*trial).firstConsumer},
		{"Clone", "a claim with another one as its source begins as a copy of it", (*trial).cloned},
		{"Snapshot", "a VolumeSnapshot is taken, restored by a claim, and deleted", (*trial).snapshotted},
		{"DeadNode", "a node that is dead gets the out-of-service taint once Kubernetes takes it for not ready, and loses it when it is back", (*trial).deadNode},
		{"Kubeconfig", "a kubeconfig that is missing or wrong is said and is used as soon as it is right", (*trial).lateKubeconfig},
		{"APIServer", "while the API server is away that is said, and after it claims are served again", (*trial).apiServerRestarted},
		{"Storm", "500 claims and a failover in the middle of them: each is bound, and none got two volumes", (*trial).storm},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()

			k := &trial{T: t, ctx: ctx, suite: s, result: lab.Case{Name: c.name, Promise: c.promise, Figures: map[string]any{}}}

			// In the end, since a failed test doesn't come back from run.
			t.Cleanup(func() {
				k.result.Passed = !t.Failed()
				report.Add(k.result)
			})

			c.run(k)
		})
	}
}

// start a control plane, and give the provisioner its kubeconfig.
func start(t *testing.T) *suite {
	t.Helper()

	bin := os.Getenv("ANTLER_CONTROLPLANE")
	require.NotEmpty(t, bin, "ANTLER_CONTROLPLANE: is not set: run `make test-provisioner`")

	plane, err := controlplane.Start(t.Context(), controlplane.Options{Bin: bin, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() {
		plane.Close()

		if t.Failed() {
			t.Log(plane.Tails())
		}
	})

	s := &suite{ControlPlane: plane, volumes: t.TempDir(), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}

	token, err := plane.Deploy(t.Context(), base)
	require.NoError(t, err)

	content, err := plane.Kubeconfig("antler-csi", token, controlplane.Host)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.kubeconfig, content, 0o600))

	return s
}

// await asks until there is no error, and fails with the last one.
func await(ctx context.Context, t *testing.T, what string, ask func() error) {
	t.Helper()
	require.NoError(t, controlplane.Await(ctx, what, ask))
}
