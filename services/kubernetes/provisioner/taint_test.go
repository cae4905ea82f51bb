package provisioner

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8stesting "k8s.io/client-go/testing"

	"antler/services/kubernetes"
)

// machine is n1 as Kubernetes knows it, by another name.
func machine(change ...func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "rack-1", UID: "u1", ResourceVersion: "1", Labels: map[string]string{kubernetes.TopologyKey: "cluster-1"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}},
	}

	for _, c := range change {
		c(node)
	}

	return node
}

func TestJudge(t *testing.T) {
	ready := func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }
	tainted := func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, outOfService()) }
	ours := func(n *corev1.Node) { n.Annotations = map[string]string{annotationTaint: "1970-01-01T00:16:40Z"} }

	for name, tc := range map[string]struct {
		node *corev1.Node
		dead bool
		want verdict
	}{
		"alive":                             {machine(ready), false, taintStays},
		"not heard of, and not surely dead": {machine(), false, taintStays},
		"dead":                              {machine(), true, taintPut},
		"dead, and its kubelet is alive":    {machine(ready), true, taintWaits},
		"dead and tainted":                  {machine(tainted, ours), true, taintStays},
		"dead, tainted by somebody else":    {machine(tainted), true, taintStays},
		"dead, and somebody took it off":    {machine(ours), true, taintStays},
		"back":                              {machine(tainted, ours), false, taintTaken},
		"back, tainted by somebody else":    {machine(tainted), false, taintStays},
		"back, and somebody took it off":    {machine(ours), false, taintTaken},
	} {
		require.Equal(t, tc.want, judge(tc.node, tc.dead), name)
	}
}

func TestADeadNodeIsTainted(t *testing.T) {
	csiNode := func(name, driver string) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
			{Name: "disk.csi.example", NodeID: "n1"}, {Name: driver, NodeID: "n1"},
		}}}
	}
	foreign := machine(func(n *corev1.Node) { n.Name, n.Labels[kubernetes.TopologyKey] = "rack-2", "cluster-2" })
	other := machine(func(n *corev1.Node) { n.Name = "rack-3" })
	b := newBench(machine(), foreign, other, csiNode("rack-1", kubernetes.DriverName), csiNode("rack-2", kubernetes.DriverName), csiNode("rack-3", "nfs.csi.example"))

	var told []string

	pass := func(dead ...string) {
		t.Helper()

		waits, err := b.taint(t.Context(), dead, func(kind, _ string) { told = append(told, kind) })
		require.NoError(t, err)
		require.False(t, waits)
	}
	node := func(name string) *corev1.Node {
		t.Helper()

		n, err := b.api.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)

		return n
	}

	pass()
	require.Len(t, node("rack-1").Spec.Taints, 1, "not before it is dead")

	for range 2 {
		pass("n1")
		require.Equal(t, append(machine().Spec.Taints, outOfService()), node("rack-1").Spec.Taints)
		require.Equal(t, "1970-01-01T00:16:40Z", node("rack-1").Annotations[annotationTaint])
	}

	patched := slices.DeleteFunc(b.api.Actions(), func(a k8stesting.Action) bool { return !a.Matches("patch", "nodes") })
	require.Len(t, patched, 1)
	require.Contains(t, string(patched[0].(k8stesting.PatchAction).GetPatch()), `"resourceVersion":"1"`, "it replaces the taints that it has seen")

	require.Len(t, node("rack-2").Spec.Taints, 1, "another cluster's n1")
	require.Len(t, node("rack-3").Spec.Taints, 1, "another driver's n1")

	for range 2 {
		pass()
		require.Equal(t, machine().Spec.Taints, node("rack-1").Spec.Taints)
		require.NotContains(t, node("rack-1").Annotations, annotationTaint)
	}

	require.Equal(t, []string{"kubernetes.tainted", "kubernetes.untainted"}, told)
	require.Contains(t, <-b.events.Events, "Warning OutOfService n1 was not heard of")
	require.Contains(t, <-b.events.Events, "Normal InService n1 is heard of again")
}
