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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// attributes makes a VolumeAttributesClass.
func (k *trial) attributes(name string, parameters map[string]string) {
	k.Helper()

	_, err := k.Admin.StorageV1().VolumeAttributesClasses().Create(k.ctx, &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: kubernetes.DriverName, Parameters: parameters,
	}, metav1.CreateOptions{})
	require.NoError(k, err)
}

// awaitModify waits until a claim's status tells of an attempt in this state, or
// of none.
func (k *trial) awaitModify(name string, want corev1.PersistentVolumeClaimModifyVolumeStatus) {
	k.Helper()
	await(k.ctx, k.T, fmt.Sprintf("the modification of claim %s is %q", name, want), func() error {
		status := k.get(name).Status.ModifyVolumeStatus
		if (status == nil) != (want == "") || status != nil && status.Status != want {
			return fmt.Errorf("it is %v", status)
		}

		return nil
	})
}

func (k *trial) awaitAttributes(name, want string) {
	k.Helper()
	await(k.ctx, k.T, "claim "+name+" has the class "+want, func() error {
		if have := k.get(name).Status.CurrentVolumeAttributesClassName; have == nil || *have != want {
			return fmt.Errorf("its status is %+v", k.get(name).Status)
		}

		return nil
	})
	k.awaitModify(name, "")
}

func (k *trial) attributesChanged() {
	k.attributes("short", map[string]string{"trashTime": "2h"})
	k.attributes("more-copies", map[string]string{"copies": "3", "trashTime": "5h"})
	k.attributes("wrong-copies", map[string]string{"copies": "12"})

	const name = "attributes"

	k.make(k.claimOf(name, "moosefs"))
	k.bind(name)

	ask := func(class string) {
		require.NoError(k, k.patch(name, `{"spec":{"volumeAttributesClassName":"`+class+`"}}`))
	}
	begin := time.Now()

	ask("short")
	k.awaitAttributes(name, "short")

	k.result.Figures["modified_ms"] = time.Since(begin).Milliseconds()

	ask("more-copies")
	k.awaitAttributes(name, "more-copies")
	k.awaitEvent(name, "VolumeModifySuccessful", "more-copies")

	claim, pv := k.bind(name)
	require.Equal(k, "more-copies", *pv.Spec.VolumeAttributesClassName)
	require.Empty(k, claim.Status.Conditions)

	v, err := k.volumeOf(pv)
	require.NoError(k, err)
	require.Equal(k, 3, v.Copies)
	require.Equal(k, 5*time.Hour, v.TrashTime)

	// One that can't be carried out, from which the claim goes back.
	ask("wrong-copies")
	k.awaitModify(name, corev1.PersistentVolumeClaimModifyVolumeInfeasible)
	k.awaitEvent(name, "VolumeModifyFailed", `copies: "12" is not a number of copies in 1..9`)
	ask("more-copies")
	k.awaitAttributes(name, "more-copies")

	// One that comes later.
	ask("late")
	k.awaitModify(name, corev1.PersistentVolumeClaimModifyVolumePending)
	k.attributes("late", map[string]string{"trashTime": "7h", "inodeLimit": "1000"})
	k.awaitAttributes(name, "late")

	v, err = k.volumeOf(pv)
	require.NoError(k, err)
	require.Equal(k, 7*time.Hour, v.TrashTime)
	require.Equal(k, 3, v.Copies, "what a class says nothing about stays")
	require.EqualValues(k, 1000, v.InodeLimit)

	// Fewer than there are.
	for _, file := range []string{"a", "b"} {
		require.NoError(k, os.WriteFile(filepath.Join(k.at(pv), file), nil, 0o600))
	}

	k.attributes("one-inode", map[string]string{"inodeLimit": "1"})
	ask("one-inode")
	k.awaitModify(name, corev1.PersistentVolumeClaimModifyVolumeInfeasible)
	k.awaitEvent(name, "VolumeModifyFailed", "it has 2 files and directories")

	k.remove(name)
}
