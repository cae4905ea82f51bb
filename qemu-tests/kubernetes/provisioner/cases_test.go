//go:build controlplane

package provisioner

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/qemu-tests/lab/controlplane"
	"antler/services/kubernetes"
	"antler/services/volume"
)

func (k *trial) boundOneByOne() {
	const claims = 20

	var took []time.Duration

	for i := range claims {
		name := fmt.Sprintf("one-%d", i)
		begin := time.Now()

		k.make(k.claimOf(name, "moosefs"))

		_, pv := k.bind(name)
		took = append(took, time.Since(begin))

		v, err := k.volumeOf(pv)
		require.NoError(k, err)
		require.EqualValues(k, 1<<30, v.Size)
		require.Equal(k, pv.Name, v.Name)
	}

	k.result.Figures["bound_p50_ms"], k.result.Figures["bound_p99_ms"] = percentile(took, 0.5), percentile(took, 0.99)

	for i := range claims {
		k.remove(fmt.Sprintf("one-%d", i))
	}
}

func (k *trial) deleted() {
	k.make(k.claimOf("deleted", "moosefs"))

	_, pv := k.bind("deleted")
	k.remove("deleted")
	k.awaitNoVolume(pv.Name)

	_, err := k.volumeOf(pv)
	require.ErrorIs(k, err, volume.ErrNotFound)

	back, err := k.n1.store.Undelete(k.ctx, pv.Name, "")
	require.NoError(k, err, "it was in the archive")
	require.Equal(k, pv.Spec.CSI.VolumeHandle, kubernetes.Handle{Name: back.Name, ID: back.ID}.String())

	_, err = k.n1.store.DeleteUnused(k.ctx, back.Name, back.ID, time.Hour)
	require.NoError(k, err)
}

func (k *trial) retained() {
	k.make(k.claimOf("retained", "moosefs-retain"))

	_, pv := k.bind("retained")
	k.remove("retained")
	await(k.ctx, k.T, "the persistent volume is released", func() error { return k.VolumeReleased(k.ctx, pv.Name) })

	// A second claim that came and went after it shows that nothing is pending.
	k.make(k.claimOf("after", "moosefs"))

	_, other := k.bind("after")
	k.remove("after")
	k.awaitNoVolume(other.Name)

	_, err := k.volumeOf(pv)
	require.NoError(k, err, "it stays")

	require.NoError(k, k.LetGo(k.ctx, pv.Name))
	k.awaitNoVolume(pv.Name)

	_, err = k.volumeOf(pv)
	require.ErrorIs(k, err, volume.ErrNotFound)
}

func (k *trial) wrongParameters() {
	class := k.class("wrong", func(c *storagev1.StorageClass) {
		c.Parameters = map[string]string{"copies": "12", "size": "1"}
	})

	k.make(k.claimOf("wrong", class))
	k.awaitEvent("wrong", "ProvisioningFailed", `parameters.copies: "12" is not a number of copies in 1..9`, "parameters.size: is unknown")

	block := corev1.PersistentVolumeBlock
	claim := k.claimOf("block", "moosefs")
	claim.Spec.VolumeMode = &block
	k.make(claim)
	k.awaitEvent("block", "ProvisioningFailed", "volumes are directories: use volumeMode Filesystem")

	// Each attempt writes to the claim; that must not be a reason for the next.
	failed := k.n1.counts.Failed.Load()
	k.result.Figures["failed_attempts"] = failed
	require.Less(k, failed, uint64(20))

	k.remove("wrong")
	k.remove("block")
}

func (k *trial) expanded() {
	k.make(k.claimOf("grows", "moosefs"))
	k.bind("grows")

	begin := time.Now()

	require.NoError(k, k.patch("grows", `{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}`))
	await(k.ctx, k.T, "the claim has what it asks for", func() error {
		claim := k.get("grows")
		if want := resource.MustParse("3Gi"); !want.Equal(*claim.Status.Capacity.Storage()) || len(claim.Status.Conditions) > 0 {
			return fmt.Errorf("it has %s, conditions %v", claim.Status.Capacity.Storage(), claim.Status.Conditions)
		}

		return nil
	})

	k.result.Figures["expanded_ms"] = time.Since(begin).Milliseconds()

	claim, pv := k.bind("grows")
	require.Empty(k, claim.Status.AllocatedResourceStatuses)
	require.EqualValues(k, 3<<30, pv.Spec.Capacity.Storage().Value())

	v, err := k.volumeOf(pv)
	require.NoError(k, err)
	require.EqualValues(k, 3<<30, v.Size)

	dir, err := os.Open(k.at(pv))
	require.NoError(k, err)

	defer dir.Close()

	quota, err := plainTools{}.Quotas(k.ctx, []*os.File{dir})
	require.NoError(k, err)
	require.EqualValues(k, 3<<30, quota[0].Limit)

	require.Error(k, k.patch("grows", `{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}`), "it can't shrink")
	k.awaitEvent("grows", "VolumeResizeSuccessful")
	k.remove("grows")
}

func (k *trial) firstConsumer() {
	class := k.class("late", func(c *storagev1.StorageClass) {
		mode := storagev1.VolumeBindingWaitForFirstConsumer
		c.VolumeBindingMode = &mode
	})

	for name, labels := range map[string]map[string]string{"n1": {kubernetes.TopologyKey: clusterID}, "x1": nil} {
		_, err := k.Admin.CoreV1().Nodes().Create(k.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		require.NoError(k, err)
	}

	k.make(k.claimOf("late", class))
	choose := func(node string) {
		require.NoError(k, k.patch("late", `{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"`+node+`"}}}`))
	}

	// As the scheduler does it, which isn't there.
	choose("x1")
	k.awaitEvent("late", "ProvisioningFailed", "node x1", "the scheduler is asked for another one")
	require.NotContains(k, k.get("late").Annotations, "volume.kubernetes.io/selected-node")
	require.Empty(k, k.get("late").Spec.VolumeName)

	choose("n1")

	_, pv := k.bind("late")
	terms := pv.Spec.NodeAffinity.Required.NodeSelectorTerms
	require.Equal(k, []string{clusterID}, terms[0].MatchExpressions[0].Values)
	k.remove("late")
}

func (k *trial) cloned() {
	k.make(k.claimOf("original", "moosefs"))

	_, from := k.bind("original")
	require.NoError(k, os.WriteFile(filepath.Join(k.at(from), "f"), []byte("content"), 0o600))

	claim := k.claimOf("copy", "moosefs")
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "original"}
	k.make(claim)

	_, to := k.bind("copy")
	content, err := os.ReadFile(filepath.Join(k.at(to), "f"))
	require.NoError(k, err)
	require.Equal(k, "content", string(content))

	small := k.claimOf("small", "moosefs")
	small.Spec.DataSource, small.Spec.Resources.Requests = claim.Spec.DataSource, controlplane.Sized("512Mi")
	k.make(small)
	k.awaitEvent("small", "ProvisioningFailed", "its source has")

	for _, name := range []string{"small", "copy", "original"} {
		k.remove(name)
	}
}

// lateKubeconfig has a second node that serves other volumes: its state is what
// is looked at.
func (k *trial) lateKubeconfig() {
	path := filepath.Join(k.TempDir(), "kubeconfig")
	n := serve(k.T, k.TempDir(), path, "n9", 1)

	says := func(want string) {
		await(k.ctx, k.T, "it says "+want, func() error {
			if c := n.work.Connection(); c.Working || c.Err == nil || !containsText(c.Err, want) {
				return fmt.Errorf("it says %w", c.Err)
			}

			return nil
		})
	}

	says("is not there")
	require.NoError(k, os.WriteFile(path, []byte("nonsense"), 0o600))
	says("write a new one")

	wrong, err := k.Kubeconfig("nobody", "a-wrong-token", controlplane.Host)
	require.NoError(k, err)
	require.NoError(k, os.WriteFile(path, wrong, 0o600))
	says("Unauthorized")

	right, err := os.ReadFile(k.kubeconfig)
	require.NoError(k, err)

	// It must not work on the claims of the other cases.
	n.lease.Store(false)
	require.NoError(k, os.WriteFile(path, right, 0o600))
	await(k.ctx, k.T, "it works", func() error {
		if c := n.work.Connection(); !c.Working || c.Err != nil {
			return fmt.Errorf("it says %w", c.Err)
		}

		return nil
	})
	n.end()
}

// apiServerRestarted says what antlerd says meanwhile, and that a claim made
// right after it is served.
func (k *trial) apiServerRestarted() {
	k.StopAPI()

	begin := time.Now()

	await(k.ctx, k.T, "it says that nobody answers", func() error {
		if c := k.n1.work.Connection(); c.Err == nil {
			return errNotYet
		}

		return nil
	})
	require.NoError(k, k.StartAPI())
	require.NoError(k, k.AwaitReady(k.ctx))

	k.result.Figures["away_ms"] = time.Since(begin).Milliseconds()
	begin = time.Now()

	k.make(k.claimOf("after-restart", "moosefs"))
	k.bind("after-restart")

	k.result.Figures["bound_ms"] = time.Since(begin).Milliseconds()

	await(k.ctx, k.T, "it says that all is well", func() error {
		if c := k.n1.work.Connection(); c.Err != nil || !c.Working {
			return fmt.Errorf("it says %w", c.Err)
		}

		return nil
	})
	k.remove("after-restart")
}
