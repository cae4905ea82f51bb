package provisioner

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

func attributes(name, trashTime string) *storagev1.VolumeAttributesClass {
	return &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: kubernetes.DriverName, Parameters: map[string]string{"trashTime": trashTime},
	}
}

// changing is a bound claim that has one VolumeAttributesClass and asks for
// another; either may be none.
func changing(from, to string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		if from != "" {
			c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName = &from, &from
		}

		bound(c)

		if to != "" {
			c.Spec.VolumeAttributesClassName = &to
		}
	}
}

// begun is a claim whose status tells of an attempt.
func begun(c *corev1.PersistentVolumeClaim, target string, how corev1.PersistentVolumeClaimModifyVolumeStatus) {
	c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: target, Status: how}
	c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{
		{Type: corev1.PersistentVolumeClaimVolumeModifyingVolume}, {Type: corev1.PersistentVolumeClaimVolumeModifyVolumeError}, {Type: "Others"},
	}
}

// requireModified looks whether all that tells of a claim's class names this one,
// and nothing of an attempt is left.
func (b *bench) requireModified(t *testing.T, want string) {
	t.Helper()

	now := b.claim(t)
	require.Equal(t, want, attributesHad(now))
	require.Equal(t, want, value(b.volumes(t)[0].Spec.VolumeAttributesClassName))
	require.Nil(t, now.Status.ModifyVolumeStatus)

	for _, c := range now.Status.Conditions {
		require.EqualValues(t, "Others", c.Type)
	}

	require.False(t, claimMatters(now))
}

func TestAttributesClassOfABoundClaim(t *testing.T) {
	for _, from := range []string{"", "old"} {
		claim := claimed(changing(from, "new"))
		b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("old", "1h"), attributes("new", "2h"))

		require.True(t, claimMatters(claim))
		require.NoError(t, b.syncClaim(t.Context(), claim))
		require.Equal(t, []map[string]string{{"trashTime": "2h"}}, b.driver.modified)
		require.Contains(t, <-b.events.Events, "VolumeModifySuccessful")
		require.EqualValues(t, 1, b.Counts.Modified.Load())
		b.requireModified(t, "new")
	}
}

func TestAttributesClassThatIsNotThere(t *testing.T) {
	claim := claimed(changing("old", "new"))
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("old", "1h"))

	require.ErrorContains(t, b.syncClaim(t.Context(), claim), "get VolumeAttributesClass new")
	require.Equal(t, &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "new", Status: corev1.PersistentVolumeClaimModifyVolumePending},
		b.claim(t).Status.ModifyVolumeStatus)
	require.Empty(t, b.driver.modified)

	// It comes, and the next attempt finds it.
	_, err := b.api.StorageV1().VolumeAttributesClasses().Create(t.Context(), attributes("new", "2h"), metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, b.syncClaim(t.Context(), b.claim(t)))
	b.requireModified(t, "new")
}

func TestModificationThatCannotBe(t *testing.T) {
	foreign := attributes("foreign", "2h")
	foreign.DriverName = "other"

	for _, to := range []string{"new", "foreign"} {
		claim := claimed(changing("old", to))
		b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("old", "1h"), attributes("new", "x"), foreign)
		b.driver.fail = errWrong

		err := b.syncClaim(t.Context(), claim)
		require.Error(t, err)
		require.Equal(t, reasonModify, failuresOf(err, "")[0].reason)
		require.NotContains(t, text(failuresOf(err, "")[0].err), "rpc error", "it is for people")

		now := b.claim(t)
		require.Equal(t, corev1.PersistentVolumeClaimModifyVolumeInfeasible, now.Status.ModifyVolumeStatus.Status)
		require.Equal(t, "old", attributesHad(now))
		require.True(t, slices.ContainsFunc(now.Status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
			return c.Type == corev1.PersistentVolumeClaimVolumeModifyVolumeError &&
				strings.Contains(c.Message, map[string]string{"new": "copies in 1..9", "foreign": "is of driver other"}[to])
		}))

		// Whoever asked for it asks for what there is again: nothing was changed.
		calls := len(b.driver.modified)
		now.Spec.VolumeAttributesClassName = now.Status.CurrentVolumeAttributesClassName
		require.True(t, claimMatters(now))
		require.NoError(t, b.syncClaim(t.Context(), now))
		require.Len(t, b.driver.modified, calls)
		require.Nil(t, b.claim(t).Status.ModifyVolumeStatus)
		require.Empty(t, b.claim(t).Status.Conditions)
	}
}

// Whether a call that was not answered has done something nobody knows, so it is
// made again before another class has its turn: it may say nothing of what the
// first one has changed.
func TestInterruptedModificationIsCarriedOut(t *testing.T) {
	claim := claimed(changing("", "first"))
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("first", "1h"), attributes("second", "2h"))
	b.driver.fail = status.Error(codes.Unavailable, "MooseFS does not answer")

	require.Error(t, b.syncClaim(t.Context(), claim))

	claim = b.claim(t)
	require.Equal(t, corev1.PersistentVolumeClaimModifyVolumeInProgress, claim.Status.ModifyVolumeStatus.Status)

	b.driver.fail, b.driver.modified = nil, nil
	second := "second"
	claim.Spec.VolumeAttributesClassName = &second
	_, err := b.api.CoreV1().PersistentVolumeClaims("shop").Update(t.Context(), claim, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Equal(t, []map[string]string{{"trashTime": "1h"}, {"trashTime": "2h"}}, b.driver.modified)
	b.requireModified(t, "second")

	// Nobody can carry out a class that is gone.
	claim = claimed(func(c *corev1.PersistentVolumeClaim) {
		changing("first", "second")(c)
		begun(c, "gone", corev1.PersistentVolumeClaimModifyVolumeInProgress)
	})
	b = newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("second", "2h"))
	require.NoError(t, b.syncClaim(t.Context(), claim))
	b.requireModified(t, "second")
}

// A class can't be taken away from a claim that has one, so none asks for nothing.
func TestNoAttributesClassIsNothingToDo(t *testing.T) {
	require.False(t, claimMatters(claimed(changing("", ""))))
	require.False(t, claimMatters(claimed(changing("old", ""))))

	unbound := claimed(changing("", "new"))
	unbound.Status.Phase = corev1.ClaimLost
	require.False(t, claimMatters(unbound))

	// Unless an attempt was begun that nobody asks for any more.
	claim := claimed(func(c *corev1.PersistentVolumeClaim) {
		changing("", "")(c)
		begun(c, "new", corev1.PersistentVolumeClaimModifyVolumePending)
	})
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound))
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Empty(t, b.driver.modified)
	b.requireModified(t, "")
}

func TestModificationOfSomebodyElsesVolume(t *testing.T) {
	claim := claimed(changing("old", "new"))
	pv := volumeOf(claim, storageClass(nil), corev1.VolumeBound)
	pv.Spec.ClaimRef.UID = "u9"

	b := newBench(claim, pv, attributes("new", "2h"))
	require.ErrorContains(t, b.syncClaim(t.Context(), claim), "is not bound to this claim")

	pv.Spec.ClaimRef.UID, pv.Spec.CSI.Driver = claim.UID, "other"
	b = newBench(claim, pv, attributes("new", "2h"))
	require.NoError(t, b.syncClaim(t.Context(), claim))
	require.Empty(t, b.driver.modified)
	require.Nil(t, b.claim(t).Status.ModifyVolumeStatus)
}

// An expansion that can't be had doesn't keep a class waiting, and the reverse.
func TestChangesDoNotWaitForEachOther(t *testing.T) {
	claim := claimed(func(c *corev1.PersistentVolumeClaim) { changing("old", "new")(c); growing(c) })
	b := newBench(claim, volumeOf(claim, storageClass(nil), corev1.VolumeBound), attributes("new", "2h"))
	b.driver.fail = errWrong

	failed := failuresOf(b.syncClaim(t.Context(), claim), "")
	require.Len(t, failed, 2)
	require.Equal(t, reasonExpand, failed[0].reason)
	require.Equal(t, reasonModify, failed[1].reason)
}
