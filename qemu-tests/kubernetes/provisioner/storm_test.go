//go:build controlplane

package provisioner

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// storm creates many claims at once. In the middle the serving node loses its
// lease, without being told to stop; the next one begins a moment later.
func (k *trial) storm() {
	const (
		claims = 500
		gap    = time.Second
	)

	require.NoError(k, k.NoneLeft(k.ctx))

	begin, before := time.Now(), k.n1.counts.Provisioned.Load()

	storm, err := k.Storm(k.ctx, claims, func(name string) *corev1.PersistentVolumeClaim { return k.claimOf(name, "moosefs") })
	require.NoError(k, err)

	await(k.ctx, k.T, "a third is provisioned", func() error {
		if done := k.n1.counts.Provisioned.Load() - before; done < claims/3 {
			return fmt.Errorf("%d are", done)
		}

		return nil
	})

	k.n1.lease.Store(false)
	require.NoError(k, storm.Created())

	// What was on its way when the lease ended arrives in this time.
	time.Sleep(gap)

	byFirst := k.n1.counts.Provisioned.Load() - before

	n2 := serve(k.T, k.volumes, k.kubeconfig, "n2", 2)
	took, err := storm.AwaitBound(k.ctx, claims)
	require.NoError(k, err)

	k.result.Figures["all_bound_ms"] = time.Since(begin).Milliseconds()

	k.n1.end()
	require.Equal(k, byFirst, k.n1.counts.Provisioned.Load()-before, "n1 has no lease and goes on")

	require.LessOrEqual(k, byFirst+n2.counts.Provisioned.Load(), uint64(claims))

	k.result.Figures["claims"], k.result.Figures["gap_ms"] = claims, gap.Milliseconds()
	k.result.Figures["by_first"], k.result.Figures["by_second"] = byFirst, n2.counts.Provisioned.Load()
	k.result.Figures["bound_p50_ms"], k.result.Figures["bound_p99_ms"] = percentile(took, 0.5), percentile(took, 0.99)

	k.noDuplicates(n2, claims)
	k.clearAway(n2)
}

// noDuplicates holds claims, persistent volumes and volumes against each other.
func (k *trial) noDuplicates(n *node, claims int) {
	handles, err := k.OneVolumeEach(k.ctx, claims)
	require.NoError(k, err)

	volumes, err := n.store.List(k.ctx)
	require.NoError(k, err)
	require.Len(k, volumes, claims)

	for _, v := range volumes {
		require.True(k, handles[v.Name+":"+v.ID], v.Name)
	}

	k.result.Figures["volumes"] = len(volumes)
}

// clearAway deletes all claims at once.
func (k *trial) clearAway(n *node) {
	begin := time.Now()

	require.NoError(k, k.Admin.CoreV1().PersistentVolumeClaims(namespace).DeleteCollection(k.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	require.NoError(k, k.NoneLeft(k.ctx))

	k.result.Figures["all_deleted_ms"] = time.Since(begin).Milliseconds()

	volumes, err := n.store.List(k.ctx)
	require.NoError(k, err)
	require.Empty(k, volumes)
}
