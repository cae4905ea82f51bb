//go:build controlplane

package provisioner

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/qemu-tests/lab/controlplane"
	"antler/services/kubernetes"
	"antler/services/volume"
)

var errNotYet = errors.New("not yet")

func (k *trial) claimOf(name, class string) *corev1.PersistentVolumeClaim {
	return controlplane.Claim(name, class, "1Gi", corev1.ReadWriteMany)
}

func (k *trial) make(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	k.Helper()

	made, err := k.Admin.CoreV1().PersistentVolumeClaims(namespace).Create(k.ctx, claim, metav1.CreateOptions{})
	require.NoError(k, err)

	return made
}

func (k *trial) get(name string) *corev1.PersistentVolumeClaim {
	k.Helper()

	claim, err := k.Admin.CoreV1().PersistentVolumeClaims(namespace).Get(k.ctx, name, metav1.GetOptions{})
	require.NoError(k, err)

	return claim
}

// bind waits until a claim is bound and returns it with its persistent volume.
func (k *trial) bind(name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	k.Helper()
	await(k.ctx, k.T, "claim "+name+" is bound", func() error {
		if claim := k.get(name); claim.Status.Phase != corev1.ClaimBound || len(claim.Finalizers) != 1 {
			return fmt.Errorf("it is %s, with finalizers %v", claim.Status.Phase, claim.Finalizers)
		}

		return nil
	})

	claim := k.get(name)

	pv, err := k.Admin.CoreV1().PersistentVolumes().Get(k.ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	require.NoError(k, err)

	return claim, pv
}

func (k *trial) remove(name string) {
	k.Helper()
	require.NoError(k, k.Admin.CoreV1().PersistentVolumeClaims(namespace).Delete(k.ctx, name, metav1.DeleteOptions{}))
	await(k.ctx, k.T, "claim "+name+" is gone", func() error {
		claim, err := k.Admin.CoreV1().PersistentVolumeClaims(namespace).Get(k.ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}

		return errors.Join(err, fmt.Errorf("it has the finalizers %v", claim.Finalizers))
	})
}

func (k *trial) awaitNoVolume(name string) {
	k.Helper()
	await(k.ctx, k.T, "persistent volume "+name+" is gone", func() error { return k.VolumeGone(k.ctx, name) })
}

// volumeOf is the volume that a persistent volume is of.
func (k *trial) volumeOf(pv *corev1.PersistentVolume) (volume.Volume, error) {
	k.Helper()

	h, err := kubernetes.ParseHandle(pv.Spec.CSI.VolumeHandle)
	require.NoError(k, err)

	return k.n1.store.Get(k.ctx, h.Name)
}

// at is where the data of a persistent volume are.
func (k *trial) at(pv *corev1.PersistentVolume) string {
	k.Helper()

	v, err := k.volumeOf(pv)
	require.NoError(k, err)

	return filepath.Join(k.volumes, v.Path)
}

// class makes a StorageClass.
func (k *trial) class(name string, change func(*storagev1.StorageClass)) string {
	k.Helper()

	expand := true
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: kubernetes.DriverName, AllowVolumeExpansion: &expand}
	change(class)

	_, err := k.Admin.StorageV1().StorageClasses().Create(k.ctx, class, metav1.CreateOptions{})
	require.NoError(k, err)

	return name
}

func (k *trial) patch(name, content string) error {
	_, err := k.Admin.CoreV1().PersistentVolumeClaims(namespace).Patch(k.ctx, name, types.MergePatchType, []byte(content), metav1.PatchOptions{})

	return err
}

// awaitEvent waits for an event on a claim.
func (k *trial) awaitEvent(claim, reason string, texts ...string) {
	k.Helper()
	await(k.ctx, k.T, "an event tells of claim "+claim, func() error {
		events, err := k.EventsOf(k.ctx, claim)
		if err != nil {
			return err
		}

		var seen []string

		for _, event := range events {
			seen = append(seen, event.Reason+": "+event.Message)

			missing := func(text string) bool { return !strings.Contains(event.Message, text) }
			if event.Reason == reason && event.Source.Component == kubernetes.DriverName && !slices.ContainsFunc(texts, missing) {
				return nil
			}
		}

		return fmt.Errorf("the events are %q", seen)
	})
}

// percentile of durations, in milliseconds.
func percentile(all []time.Duration, part float64) int64 {
	sorted := slices.Sorted(slices.Values(all))

	return sorted[int(part*float64(len(sorted)-1))].Milliseconds()
}

func containsText(err error, text string) bool { return strings.Contains(err.Error(), text) }
