//go:build vm

package kubernetes

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/controlplane"
	"antler/services/kubernetes"
)

// kubeletNodes are those on which pods run: one that may serve as well, and the
// witness, which never does. n1 has no kubelet; whether it serves is up to the cases
// before.
var kubeletNodes = []string{"n2", "n3"}

// kubeconfigPath is where the nodes look for the way to the API server.
const kubeconfigPath = "/var/lib/antler/kubeconfig"

// dialNode is controlplane.Options.DialNode.
type dialNode = func(ctx context.Context, node string, port int) (net.Conn, error)

// kubeletPort is kubelet's own.
const kubeletPort = 10250

// startControlPlane starts it on this machine, and returns it with the files that
// the virtual machines need of it and of kubelet.
func startControlPlane(t *testing.T, agent string, dial dialNode) (*controlplane.ControlPlane, []string) {
	t.Helper()

	bin, kubelet := os.Getenv("ANTLER_CONTROLPLANE"), os.Getenv("ANTLER_KUBELET")
	require.NotEmpty(t, bin, "ANTLER_CONTROLPLANE: is not set: run `make test-kubernetes`")
	require.NotEmpty(t, kubelet, "ANTLER_KUBELET: is not set: run `make test-kubernetes`")

	dir, err := filepath.Abs(root + "lab/kubernetes-plane")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "files"), 0o755))

	plane, err := controlplane.Start(t.Context(), controlplane.Options{Bin: bin, Dir: dir, Nodes: kubeletNodes, DialNode: dial})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			fmt.Print(plane.Tails())
		}

		plane.Close()
	})

	token, err := plane.Deploy(t.Context(), "../../deploy/kubernetes/base")
	require.NoError(t, err)

	files := []string{
		filepath.Join(kubelet, "kubelet"), "testdata/containerd.toml", "testdata/kubelet.yaml", "testdata/cni",
		"testdata/kubelet-containerd.service", "testdata/kubelet@.service",
	}
	tokens := map[string]string{"antler": token}

	for _, node := range kubeletNodes {
		tokens[node] = controlplane.NodeToken(node)
	}

	for name, token := range tokens {
		content, err := plane.Kubeconfig(name, token, controlplane.Guest)
		require.NoError(t, err)

		path := filepath.Join(dir, "files", name+".kubeconfig")
		require.NoError(t, os.WriteFile(path, content, 0o600))

		files = append(files, path)
	}

	images := filepath.Join(dir, "files/images.tar")
	require.NoError(t, writeImages(images, agent))

	return plane, append(files, images)
}

// kubelets sees to it that kubelet runs on its nodes, and waits until they can
// take pods with our volumes.
func (k *trial) kubelets() {
	k.Helper()

	var started errgroup.Group

	for i, name := range kubeletNodes {
		started.Go(func() error { return k.startKubelet(k.cluster.Machine(name), i+2) })
	}

	k.must(started.Wait())

	for _, name := range kubeletNodes {
		k.await("node "+name+" takes pods with volumes", func() error { return k.takesPods(name) })
	}
}

// startKubelet starts it and its containerd, unless it runs.
func (k *trial) startKubelet(m *lab.Machine, index int) error {
	if _, err := m.Console().Run(k.ctx, "systemctl is-active -q kubelet@"+m.Name); err == nil {
		return nil
	}

	for _, command := range []string{
		fmt.Sprintf("mkdir -p /run/kubernetes/cni/bin /run/systemd/system && echo NODE_IP=10.77.0.1%d > /run/kubernetes/node.env", index),
		fmt.Sprintf("cd /run/kubernetes/cni/bin && cp %s/cni/plugin.sh none && chmod 0755 none && cp none loopback", lab.ProgramDir),
		fmt.Sprintf("cp %s/*.service /run/systemd/system/ && systemctl daemon-reload && systemctl start kubelet-containerd", lab.ProgramDir),
		fmt.Sprintf("ctr -a /run/kubernetes/containerd.sock -n k8s.io images import %s/images.tar > /run/kubernetes/import.log 2>&1 || { cat /run/kubernetes/import.log; false; }", lab.ProgramDir),
		"systemctl start kubelet@" + m.Name,
	} {
		if _, err := m.Console().Run(k.ctx, command); err != nil {
			return fmt.Errorf("start kubelet on %s: %w", m.Name, err)
		}
	}

	k.cluster.Say("%s: kubelet is started", m.Name)

	return nil
}

func (k *trial) takesPods(name string) error {
	node, err := k.plane.Admin.CoreV1().Nodes().Get(k.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}

	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("it is not ready: %s", c.Message)
		}
	}

	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("it is tainted: %v", node.Spec.Taints)
	}

	csi, err := k.plane.Admin.StorageV1().CSINodes().Get(k.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}

	for _, driver := range csi.Spec.Drivers {
		if driver.Name == kubernetes.DriverName && node.Labels[kubernetes.TopologyKey] != "" {
			return nil
		}
	}

	return fmt.Errorf("kubelet does not know the driver: it knows %v, labels %v", csi.Spec.Drivers, node.Labels)
}

// patience is for one thing to happen on emulated machines. It ends a case of
// which nothing comes any more, and judges no time.
const patience = 4 * time.Minute

// await asks the API server until there is no error.
func (k *trial) await(what string, ask func() error) {
	k.Helper()

	ctx, cancel := context.WithTimeout(k.ctx, patience)
	defer cancel()

	k.must(controlplane.Await(ctx, what, ask))
}
