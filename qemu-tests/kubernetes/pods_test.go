//go:build vm

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/qemu-tests/lab/controlplane"
)

const namespace = controlplane.Namespace

func (k *trial) claimOf(name, size string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	return controlplane.Claim(name, "moosefs", size, mode)
}

// claim makes a claim and returns its persistent volume once it is bound.
func (k *trial) claim(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	k.Helper()

	claims := k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace)

	_, err := claims.Create(k.ctx, claim, metav1.CreateOptions{})
	k.must(err)

	var volume string

	k.await("claim "+claim.Name+" is bound", func() error {
		now, err := claims.Get(k.ctx, claim.Name, metav1.GetOptions{})
		if err == nil && now.Status.Phase != corev1.ClaimBound {
			err = fmt.Errorf("it is %s%s", now.Status.Phase, k.eventsOf(claim.Name))
		}

		volume = now.Spec.VolumeName

		return err
	})

	pv, err := k.plane.Admin.CoreV1().PersistentVolumes().Get(k.ctx, volume, metav1.GetOptions{})
	k.must(err)

	return pv
}

// eventsOf returns what Kubernetes has said about an object.
func (k *trial) eventsOf(name string) string {
	events, err := k.plane.EventsOf(k.ctx, name)
	if err != nil {
		return err.Error()
	}

	var b strings.Builder

	for _, event := range events {
		fmt.Fprintf(&b, "; %s: %s", event.Reason, event.Message)
	}

	return b.String()
}

// unclaim deletes a claim and waits until its persistent volume is gone as well.
func (k *trial) unclaim(name string, pv *corev1.PersistentVolume) {
	k.Helper()
	k.must(k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace).Delete(k.ctx, name, metav1.DeleteOptions{}))
	k.await("persistent volume "+pv.Name+" is gone", func() error { return k.plane.VolumeGone(k.ctx, pv.Name) })
}

// resize asks for a claim's new size.
func (k *trial) resize(name, size string) {
	k.Helper()

	change := fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size)
	claims := k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace)

	_, err := claims.Patch(k.ctx, name, types.MergePatchType, []byte(change), metav1.PatchOptions{})
	k.must(err)

	want := resource.MustParse(size)

	k.await("claim "+name+" has "+size, func() error {
		now, err := claims.Get(k.ctx, name, metav1.GetOptions{})
		if err == nil && !want.Equal(*now.Status.Capacity.Storage()) {
			err = fmt.Errorf("it has %s%s", now.Status.Capacity.Storage(), k.eventsOf(name))
		}

		return err
	})
}

// pod starts a pod on a node that has a claim's volume at /data and runs a script.
// What the script prints is what printed returns.
func (k *trial) pod(name, node, claim, script string) {
	k.Helper()
	k.makePod(name, node, claim, "exec > /dev/termination-log 2>&1\n"+script, nil)
}

func (k *trial) makePod(name, node, claim, script string, security *corev1.SecurityContext, changes ...func(*corev1.PodSpec)) {
	k.Helper()

	// A writer ends after its current operation; nothing else listens to signals.
	off, grace := false, int64(2)
	if security != nil {
		grace = int64(timeout.Seconds())
	}

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{corev1.LabelHostname: node}, HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &off, EnableServiceLinks: &off, TerminationGracePeriodSeconds: &grace,
			// The node has no name servers, and containerd would take over its list.
			DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"127.0.0.1"}},
			Containers: []corev1.Container{{
				Name: "main", Image: podImage, ImagePullPolicy: corev1.PullNever, Command: []string{"/bin/sh", "-c", script},
				VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}, SecurityContext: security,
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}}},
		},
	}

	for _, change := range changes {
		change(&pod.Spec)
	}

	_, err := k.plane.Admin.CoreV1().Pods(namespace).Create(k.ctx, pod, metav1.CreateOptions{})
	k.must(err)
}

// running waits until a pod's container runs.
func (k *trial) running(name string) {
	k.Helper()
	k.await("pod "+name+" runs", func() error {
		pod, err := k.plane.Admin.CoreV1().Pods(namespace).Get(k.ctx, name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("it is %s%s", pod.Status.Phase, k.eventsOf(name))
		}

		return err
	})
}

// printed waits until a pod has ended and returns what it printed. A script that
// failed fails the test.
func (k *trial) printed(name string) string {
	k.Helper()

	var ended *corev1.ContainerStateTerminated

	k.await("pod "+name+" ends", func() error {
		pod, err := k.plane.Admin.CoreV1().Pods(namespace).Get(k.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}

		for _, c := range pod.Status.ContainerStatuses {
			if ended = c.State.Terminated; ended != nil {
				return nil
			}
		}

		return fmt.Errorf("it is %s%s", pod.Status.Phase, k.eventsOf(name))
	})

	if ended.ExitCode != 0 {
		k.fail("pod %s ended with %d (%s): %s", name, ended.ExitCode, ended.Reason, ended.Message)
	}

	return ended.Message
}

// unpod deletes pods and waits until they are gone, and their mounts with them.
func (k *trial) unpod(names ...string) {
	k.Helper()

	for _, name := range names {
		k.must(k.plane.Admin.CoreV1().Pods(namespace).Delete(k.ctx, name, metav1.DeleteOptions{}))
	}

	for _, name := range names {
		k.await("pod "+name+" is gone", func() error {
			pod, err := k.plane.Admin.CoreV1().Pods(namespace).Get(k.ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}

			if err != nil {
				return err
			}

			return fmt.Errorf("it is %s%s", pod.Status.Phase, k.eventsOf(name))
		})
	}
}

// once runs a pod to its end, deletes it and returns what it printed.
func (k *trial) once(name, node, claim, script string) string {
	k.Helper()

	begin := time.Now()

	k.pod(name, node, claim, script)
	said := k.printed(name)
	k.cluster.Say("pod %s on %s: ended after %.0f s: %q", name, node, time.Since(begin).Seconds(), said)
	k.unpod(name)

	return said
}

// clearTime is for the objects that a failed case has left.
const clearTime = 2 * time.Minute

// clear deletes them, so that the next case begins with nothing.
func (s *suite) clear(t *testing.T) {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), clearTime)
	defer cancel()

	core := s.plane.Admin.CoreV1()

	err := errors.Join(
		core.Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		core.PersistentVolumeClaims(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}),
		s.plane.NoneLeft(ctx))
	if err != nil {
		t.Logf("clear away what is left: %v", err)
	}
}
