//go:build controlplane

package provisioner

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/kubernetes"
	"antler/services/kubernetes/provisioner"
	"antler/services/volume"
)

const clusterID = "7a1b1c1e-0000-4000-8000-000000000001"

// node is one that may serve: the driver, the volumes and the provisioner as
// antlerd has them, and a lease that the test gives and takes.
type node struct {
	lease atomic.Bool
	// dead is the node that the quorum has recorded as dead, "" for none.
	dead   atomic.Value
	counts provisioner.Counts
	store  *volume.Store
	work   provisioner.Running
	// asked is how many times the provisioner has asked for it.
	asked atomic.Int64
	stop  context.CancelFunc
}

var errNoLease = errors.New("it has no lease with the quorum")

func (n *node) serving() error {
	if !n.lease.Load() {
		return errNoLease
	}

	return nil
}

func (n *node) deadNodes() []string {
	n.asked.Add(1)

	if name, _ := n.dead.Load().(string); name != "" {
		return []string{name}
	}

	return nil
}

// serve makes a node serve the volumes below root.
func serve(t *testing.T, root, kubeconfig, name string, epoch uint64) *node {
	t.Helper()

	n := &node{}
	n.lease.Store(true)
	n.store = volume.New(volume.Options{
		Mount: root, Cluster: clusterID, Tools: plainTools{}, Defaults: volume.Defaults{Copies: 2, TrashTime: time.Hour},
		Verify: func(*os.File) error { return nil }, Now: time.Now, NewID: uuid.NewString, MayChange: n.serving,
	})
	require.NoError(t, n.store.Prepare(t.Context()))

	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.work = provisioner.Start(ctx, &provisioner.Work{
		Driver:  &kubernetes.Controller{Volumes: n.store, Cluster: clusterID, Nodes: []string{"n1", "n2"}, Serving: n.serving, Copies: 2},
		Serving: n.serving, Cluster: clusterID, Node: name, Version: "test", Epoch: epoch, Kubeconfig: kubeconfig,
		Counts: &n.counts, Backoff: provisioner.DefaultBackoff(), Interval: 500 * time.Millisecond, Now: time.Now,
		Logger: zaptest.NewLogger(t), Dead: n.deadNodes, Tell: func(string, string) {},
	})

	t.Cleanup(n.end)

	return n
}

// end stops the provisioner and waits for it.
func (n *node) end() {
	n.stop()
	<-n.work.Ended()
}
