//go:build vm

package kubernetes

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/qemu-tests/lab/controlplane"
	"antler/services/node/config"
)

// deadAfter is the policy of the cluster under test. It is longer than the default: an
// emulated machine that gets too little time must not be reset for that.
const deadAfter = 2 * time.Minute

// movedWithin is what a pod may take to run elsewhere once its node is called dead:
// Kubernetes's collector of pods looks every 20 s, and what an emulated kubelet needs.
const movedWithin = 3 * time.Minute

func deadNodePolicy() config.DeadNode {
	return config.DeadNode{Release: true, After: deadAfter, Taint: true}
}

// podDeadNode pulls the plug of a node under a StatefulSet's pod, for good.
func (k *trial) podDeadNode() {
	k.kubelets()

	pv := k.claim(k.claimOf("stays", "64Mi", corev1.ReadWriteOnce))
	sets := k.plane.Admin.AppsV1().StatefulSets(namespace)

	_, err := sets.Create(k.ctx, k.statefulSet("set", "stays", "n3"), metav1.CreateOptions{})
	k.must(err)
	k.awaitPodOn("set-0", "n3")

	// Made after fsync has returned: only then is what the pod wrote acknowledged.
	k.await("the pod has written", func() error {
		_, err := k.pods.Console().Run(k.ctx, "test -d /var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/*/mount/synced")

		return err
	})

	cut := k.cluster.PowerCut(k.pods)

	// Neither before it is surely dead nor long after.
	k.must(controlplane.Await(k.ctx, "the pod runs on n2", func() error { return k.podOn("set-0", "n2") }))

	moved := time.Since(cut)
	k.result.Figures["moved_ms"] = moved.Milliseconds()
	k.cluster.Say("the pod runs on n2 %.0f s after the cut", moved.Seconds())

	if moved < deadAfter || moved > deadAfter+movedWithin {
		k.fail("the pod ran elsewhere after %s, not within %s to %s", moved, deadAfter, deadAfter+movedWithin)
	}

	k.must(k.cluster.AwaitProblem(k.ctx, "its volumes are free for other nodes"))

	// The control plane here has no collector of garbage, which would end the pod.
	k.must(sets.Delete(k.ctx, "set", metav1.DeleteOptions{}))
	k.must(k.plane.Admin.CoreV1().Pods(namespace).Delete(k.ctx, "set-0", metav1.DeleteOptions{}))
	k.await("the pod is gone", func() error {
		pods, err := k.plane.Admin.CoreV1().Pods(namespace).List(k.ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}

		return err
	})

	if said := k.once("reads", "n2", "stays", "cat /data/first"); said != "n3\n" {
		k.fail("the other node reads %q", said)
	}

	k.must(k.cluster.PowerOn(k.ctx, k.pods))
	k.kubelets()
	k.await("the node that is back has no taint", func() error { return k.takesPods("n3") })
	k.unclaim("stays", pv)
	k.noneLeft()
}

// statefulSet of one pod that prefers a node, and goes to another one only if it must.
// The first run of it writes where it is.
func (k *trial) statefulSet(name, claim, node string) *appsv1.StatefulSet {
	one, off, grace := int32(1), false, int64(2)
	labels := map[string]string{"set": name}
	script := "[ -e /data/synced ] || { echo $NODE | dd of=/data/first conv=fsync && mkdir /data/synced; }\nexec sleep 3600"

	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostNetwork: true, AutomountServiceAccountToken: &off, EnableServiceLinks: &off, TerminationGracePeriodSeconds: &grace,
					DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"127.0.0.1"}},
					Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
						PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: corev1.NodeSelectorTerm{
							MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
						}}},
					}},
					Containers: []corev1.Container{{
						Name: "main", Image: podImage, ImagePullPolicy: corev1.PullNever, Command: []string{"/bin/sh", "-c", script},
						Env: []corev1.EnvVar{{Name: "NODE", ValueFrom: &corev1.EnvVarSource{
							FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"},
						}}},
						VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
					}},
					Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
						PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
					}}},
				},
			},
		},
	}
}

// podOn says why a pod doesn't run on a node.
func (k *trial) podOn(name, node string) error {
	pod, err := k.plane.Admin.CoreV1().Pods(namespace).Get(k.ctx, name, metav1.GetOptions{})
	if err == nil && (pod.Spec.NodeName != node || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil) {
		err = fmt.Errorf("it is %s on %q%s", pod.Status.Phase, pod.Spec.NodeName, k.eventsOf(name))
	}

	return err
}

func (k *trial) awaitPodOn(name, node string) {
	k.Helper()
	k.await("pod "+name+" runs on "+node, func() error { return k.podOn(name, node) })
}
