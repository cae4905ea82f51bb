package provisioner

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"

	"antler/services/kubernetes"
)

// The policy was turned off while a node was tainted, and the API server doesn't
// answer at first.
func TestTaintsGoWithThePolicy(t *testing.T) {
	named := func(name string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Name = name }
	}
	tainted := func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, outOfService()) }
	ours := func(n *corev1.Node) { n.Annotations = map[string]string{annotationTaint: "1970-01-01T00:16:40Z"} }
	foreign := func(n *corev1.Node) { n.Labels[kubernetes.TopologyKey] = "cluster-2" }

	synctest.Test(t, func(t *testing.T) {
		driver := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "rack-4"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: kubernetes.DriverName, NodeID: "n4"}}}}
		b := newBench(machine(tainted, ours), machine(named("rack-2"), tainted), machine(named("rack-3"), tainted, ours, foreign), machine(named("rack-4")), driver)

		asks := 0
		b.api.PrependReactor("list", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
			asks++

			return asks == 1, nil, errNoLease
		})

		var told []string

		w := &Work{Interval: time.Minute, Tell: func(kind, _ string) { told = append(told, kind) }}

		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})

		go func() {
			defer close(ended)
			w.taints(ctx, b.Provisioner)
		}()

		synctest.Wait()
		require.ErrorIs(t, w.Connection().TaintsErr, errNoLease)
		require.ErrorContains(t, w.Connection().TaintsErr, "check that the credentials have the rights")

		time.Sleep(time.Hour)
		synctest.Wait()
		require.NoError(t, w.Connection().TaintsErr)

		var asked []string

		for _, a := range b.api.Actions() {
			asked = append(asked, a.GetVerb()+" "+a.GetResource().Resource)
		}

		require.Equal(t, []string{"list nodes", "list nodes", "patch nodes"}, asked, "no more than it takes")
		require.Equal(t, []string{"kubernetes.untainted"}, told)
		require.Contains(t, <-b.events.Events, "Normal InService dead nodes are not to be tainted any more")

		for name, taints := range map[string]int{"rack-1": 1, "rack-2": 2, "rack-3": 2, "rack-4": 1} {
			n, err := b.api.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			require.NoError(t, err)
			require.Len(t, n.Spec.Taints, taints, name)
			require.Equal(t, name == "rack-3", n.Annotations[annotationTaint] != "", name)
		}

		stop()
		<-ended
	})
}

// Only this cluster's nodes are asked for, by a client that knows their kind.
func TestNodesAreListedByTheirCluster(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/v1/nodes", r.URL.Path)
		assert.Equal(t, kubernetes.TopologyKey+"=cluster-1", r.URL.Query().Get("labelSelector"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"NodeList","items":[{"metadata":{"name":"rack-1"}}]}`)
	}))
	defer api.Close()

	clients, err := Connect(&rest.Config{Host: api.URL}, func() error { return nil })
	require.NoError(t, err)

	p := &Provisioner{Clients: clients, Cluster: "cluster-1"}
	require.NoError(t, p.untaint(t.Context(), nil))
}
