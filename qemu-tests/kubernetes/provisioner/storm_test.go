//go:build controlplane

package provisioner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// storm creates many claims at once. In the middle the serving node loses its
// lease, without being told to stop; the next one begins a moment later.
func (k *trial) storm() {
	const (
		claims = 500
		gap    = time.Second
	)

	k.awaitNothing()

	made, bound := k.watchBound(claims)
	begin := time.Now()

	var group sync.WaitGroup

	for part := range 10 {
		group.Go(func() {
			for i := range claims / 10 {
				name := fmt.Sprintf("storm-%d", part*claims/10+i)
				made.Store(name, time.Now())

				if _, err := k.admin.CoreV1().PersistentVolumeClaims(namespace).Create(k.ctx, k.claimOf(name, "moosefs"), metav1.CreateOptions{}); err != nil {
					k.Error(err)
				}
			}
		})
	}

	before := k.n1.counts.Provisioned.Load()

	await(k.ctx, k.T, "a third is provisioned", func() error {
		if done := k.n1.counts.Provisioned.Load() - before; done < claims/3 {
			return fmt.Errorf("%d are", done)
		}

		return nil
	})

	k.n1.lease.Store(false)
	group.Wait()

	// What was on its way when the lease ended arrives in this time.
	time.Sleep(gap)

	byFirst := k.n1.counts.Provisioned.Load() - before

	n2 := serve(k.T, k.volumes, k.kubeconfig, "n2", 2)
	took := bound()
	k.result.Figures["all_bound_ms"] = time.Since(begin).Milliseconds()

	k.n1.end()
	require.Equal(k, byFirst, k.n1.counts.Provisioned.Load()-before, "n1 has no lease and goes on")

	require.LessOrEqual(k, byFirst+n2.counts.Provisioned.Load(), uint64(claims))

	k.result.Figures["claims"], k.result.Figures["gap_ms"] = claims, gap.Milliseconds()
	k.result.Figures["by_first"], k.result.Figures["by_second"] = byFirst, n2.counts.Provisioned.Load()
	k.result.Figures["bound_p50_ms"], k.result.Figures["bound_p99_ms"] = percentile(took, 0.5), percentile(took, 0.99)

	k.noDuplicates(n2, claims)
	k.clearAway(n2, claims)
}

// awaitNothing waits until what other cases have left is gone.
func (k *trial) awaitNothing() {
	await(k.ctx, k.T, "nothing is left of other cases", func() error {
		pvs, err := k.admin.CoreV1().PersistentVolumes().List(k.ctx, metav1.ListOptions{})
		if err == nil && len(pvs.Items) > 0 {
			err = fmt.Errorf("%d persistent volumes, one is %s", len(pvs.Items), pvs.Items[0].Name)
		}

		return err
	})
}

// watchBound notes when each claim is bound, from now on. The map it returns is
// to be filled with the times when they were made; the function waits for as many
// as were asked for.
func (k *trial) watchBound(claims int) (*sync.Map, func() []time.Duration) {
	var (
		mu   sync.Mutex
		took = map[string]time.Duration{}
		made = &sync.Map{}
	)

	informer := informers.NewSharedInformerFactory(k.admin, 0).Core().V1().PersistentVolumeClaims().Informer()

	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, now any) {
		claim := now.(*corev1.PersistentVolumeClaim)

		begin, known := made.Load(claim.Name)
		if !known || claim.Status.Phase != corev1.ClaimBound {
			return
		}

		mu.Lock()
		defer mu.Unlock()

		if took[claim.Name] == 0 {
			took[claim.Name] = time.Since(begin.(time.Time))
		}
	}})
	require.NoError(k, err)

	go informer.RunWithContext(k.ctx)

	require.True(k, cache.WaitForCacheSync(k.ctx.Done(), informer.HasSynced))

	return made, func() []time.Duration {
		await(k.ctx, k.T, "all claims are bound", func() error {
			mu.Lock()
			defer mu.Unlock()

			if len(took) < claims {
				return fmt.Errorf("%d of %d are", len(took), claims)
			}

			return nil
		})

		return slices.Collect(maps.Values(took))
	}
}

// noDuplicates holds claims, persistent volumes and volumes against each other.
func (k *trial) noDuplicates(n *node, claims int) {
	pvs, err := k.admin.CoreV1().PersistentVolumes().List(k.ctx, metav1.ListOptions{})
	require.NoError(k, err)
	require.Len(k, pvs.Items, claims)

	owners, handles := map[string]bool{}, map[string]bool{}

	for _, pv := range pvs.Items {
		require.True(k, strings.HasPrefix(pv.Spec.ClaimRef.Name, "storm-"))

		owners[string(pv.Spec.ClaimRef.UID)], handles[pv.Spec.CSI.VolumeHandle] = true, true

		claim := k.get(pv.Spec.ClaimRef.Name)
		require.Equal(k, pv.Name, claim.Spec.VolumeName)
		require.Equal(k, pv.Spec.ClaimRef.UID, claim.UID)
	}

	require.Len(k, owners, claims)
	require.Len(k, handles, claims)

	volumes, err := n.store.List(k.ctx)
	require.NoError(k, err)
	require.Len(k, volumes, claims)

	for _, v := range volumes {
		require.True(k, handles[v.Name+":"+v.ID], v.Name)
	}

	k.result.Figures["persistent_volumes"], k.result.Figures["volumes"] = len(pvs.Items), len(volumes)
}

// clearAway deletes all claims at once.
func (k *trial) clearAway(n *node, claims int) {
	begin := time.Now()

	require.NoError(k, k.admin.CoreV1().PersistentVolumeClaims(namespace).DeleteCollection(k.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	k.awaitNothing()

	k.result.Figures["all_deleted_ms"] = time.Since(begin).Milliseconds()

	volumes, err := n.store.List(k.ctx)
	require.NoError(k, err)
	require.Empty(k, volumes)
}
