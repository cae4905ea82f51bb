//go:build controlplane

package provisioner

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/services/kubernetes"
)

// deadNode has a node of Kubernetes by another name than antlerd's, which is ready
// until the test says otherwise.
func (k *trial) deadNode() {
	nodes := k.Admin.CoreV1().Nodes()

	node, err := nodes.Create(k.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "rack-2", Labels: map[string]string{kubernetes.TopologyKey: clusterID},
	}}, metav1.CreateOptions{})
	require.NoError(k, err)
	k.Cleanup(func() { _ = nodes.Delete(k.ctx, "rack-2", metav1.DeleteOptions{}) })

	_, err = k.Admin.StorageV1().CSINodes().Create(k.ctx, &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: "rack-2"},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: kubernetes.DriverName, NodeID: "n2"}}},
	}, metav1.CreateOptions{})
	require.NoError(k, err)
	k.Cleanup(func() { _ = k.Admin.StorageV1().CSINodes().Delete(k.ctx, "rack-2", metav1.DeleteOptions{}) })

	report := func(ready corev1.ConditionStatus) {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}

		patched, err := nodes.Patch(k.ctx, "rack-2", types.MergePatchType, conditions(node), metav1.PatchOptions{}, "status")
		require.NoError(k, err)

		node = patched
	}
	tainted := func() bool {
		now, err := nodes.Get(k.ctx, "rack-2", metav1.GetOptions{})
		require.NoError(k, err)

		return slices.ContainsFunc(now.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	}

	report(corev1.ConditionTrue)
	k.n1.dead.Store("n2")

	// It has looked at the node between two times that it asked.
	before := k.n1.asked.Load()

	await(k.ctx, k.T, "the provisioner has looked", func() error {
		if k.n1.asked.Load() < before+2 {
			return errNotLooked
		}

		return nil
	})
	require.False(k, tainted(), "its kubelet is alive, as far as Kubernetes knows")

	report(corev1.ConditionFalse)
	await(k.ctx, k.T, "the dead node is tainted", func() error {
		if !tainted() {
			return errNotTainted
		}

		return nil
	})

	k.n1.dead.Store("")
	await(k.ctx, k.T, "the node that is back has no taint", func() error {
		if tainted() {
			return errTainted
		}

		return nil
	})
}

var (
	errNotLooked  = errors.New("it has not")
	errNotTainted = errors.New("it has no taint")
	errTainted    = errors.New("it has the taint")
)

// conditions of a node as a patch of its status.
func conditions(node *corev1.Node) []byte {
	c := node.Status.Conditions[0]

	return fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":%q,"lastHeartbeatTime":%q,"lastTransitionTime":%q}]}}`,
		c.Type, c.Status, c.LastHeartbeatTime.UTC().Format("2006-01-02T15:04:05Z"), c.LastTransitionTime.UTC().Format("2006-01-02T15:04:05Z"))
}
