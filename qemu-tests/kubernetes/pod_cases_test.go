//go:build vm

package kubernetes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
	"antler/services/volume"
)

// podMoves has a volume for one node at a time, and two pods that want it.
func (k *trial) podMoves() {
	k.kubelets()

	pv := k.claim(k.claimOf("moves", "64Mi", corev1.ReadWriteOnce))
	begin := time.Now()

	k.makePod("first", "n3", "moves", "echo written on n3 > /data/f && sync && exec sleep 3600", nil)
	k.running("first")

	k.result.Figures["pod_runs_ms"] = time.Since(begin).Milliseconds()

	k.pod("second", "n2", "moves", "cat /data/f")
	k.await("the second node is told who has the volume", func() error {
		if said := k.eventsOf("second"); !strings.Contains(said, "FailedMount") || !strings.Contains(said, "n3") {
			return fmt.Errorf("the events are%s", said)
		}

		return nil
	})

	begin = time.Now()

	k.unpod("first")

	if said := k.printed("second"); said != "written on n3\n" {
		k.fail("the pod that moved reads %q", said)
	}

	k.result.Figures["moved_ms"] = time.Since(begin).Milliseconds()

	k.unpod("second")
	k.unclaim("moves", pv)
	k.noneLeft()
}

// podsShare ends only if both pods run at once and each sees the other's file.
func (k *trial) podsShare() {
	k.kubelets()

	pv := k.claim(k.claimOf("shared", "64Mi", corev1.ReadWriteMany))
	script := "echo from %[1]s > /data/%[1]s && sync\nuntil [ -s /data/%[2]s ] ; do sleep 0.2; done\ncat /data/%[2]s; touch /data/%[1]s-saw\n" +
		"until [ -e /data/%[2]s-saw ] ; do sleep 0.2; done"

	k.pod("left", "n2", "shared", fmt.Sprintf(script, "n2", "n3"))
	k.pod("right", "n3", "shared", fmt.Sprintf(script, "n3", "n2"))

	if left, right := k.printed("left"), k.printed("right"); left != "from n3\n" || right != "from n2\n" {
		k.fail("n2 saw %q, n3 saw %q", left, right)
	}

	k.unpod("left", "right")
	k.unclaim("shared", pv)
}

// podGroup has a volume of root's, and a pod that is not root and in one more group.
func (k *trial) podGroup() {
	k.kubelets()

	pv := k.claim(k.claimOf("grouped", "64Mi", corev1.ReadWriteOnce))
	k.once("root", "n3", "grouped", "umask 077; mkdir /data/d && echo by root > /data/d/f && sync")

	user, group := int64(1000), int64(2000)
	script := "exec > /dev/termination-log 2>&1\ncat /data/d/f && echo more >> /data/d/f && echo mine > /data/d/g && sync && stat -c '%u %g' /data/d/g"
	k.makePod("member", "n3", "grouped", script, nil, func(spec *corev1.PodSpec) {
		spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &group}
	})

	if said := k.printed("member"); said != "by root\n1000 2000\n" {
		k.fail("the pod says %q", said)
	}

	k.unpod("member")
	k.unclaim("grouped", pv)
}

// podQuota fills a volume; the same pod goes on when there is more room.
func (k *trial) podQuota() {
	k.kubelets()

	pv := k.claim(k.claimOf("full", "32Mi", corev1.ReadWriteOnce))
	write := "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync"

	k.pod("fills", "n3", "full", write+" && exit 7\ntouch /dev/shm/full\nuntil "+write+" 2> /dev/null; do sleep 1; done\necho went on; ls /dev/shm")
	k.running("fills")
	k.await("the pod is told that the quota is exceeded", func() error {
		// The file is the pod's own, in the log that kubelet makes its message of.
		if said := k.run("cat /var/lib/kubelet/pods/*/containers/main/* 2> /dev/null; true"); !strings.Contains(said, "quota exceeded") {
			return fmt.Errorf("it was told %q", said)
		}

		return nil
	})

	begin := time.Now()

	k.resize("full", "96Mi")

	k.result.Figures["expanded_ms"] = time.Since(begin).Milliseconds()

	if said := k.printed("fills"); !strings.Contains(said, "quota exceeded") || !strings.Contains(said, "went on") {
		k.fail("the pod says %q", said)
	}

	k.unpod("fills")
	k.unclaim("full", pv)
}

// podUndelete deletes a claim, brings its volume back, and gives it to a claim
// by a persistent volume that is made by hand.
func (k *trial) podUndelete() {
	k.kubelets()

	pv := k.claim(k.claimOf("deleted", "64Mi", corev1.ReadWriteMany))
	k.once("writes", "n3", "deleted", "echo precious > /data/f && sync")
	k.unclaim("deleted", pv)

	if k.exists(nameOf(pv)) {
		k.fail("the volume of the deleted claim is still there")
	}

	conn, err := k.cluster.Dial(k.serving)
	k.must(err)
	k.Cleanup(func() { conn.Close() })

	_, err = antlerv1.NewVolumeServiceClient(conn).Undelete(k.ctx, &antlerv1.VolumeServiceUndeleteRequest{Name: nameOf(pv)})
	k.must(err)

	back := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "undeleted"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: pv.Spec.Capacity, AccessModes: pv.Spec.AccessModes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: pv.Spec.CSI.Driver, VolumeHandle: pv.Spec.CSI.VolumeHandle,
			}},
		},
	}
	_, err = k.plane.Admin.CoreV1().PersistentVolumes().Create(k.ctx, back, metav1.CreateOptions{})
	k.must(err)

	claim := k.claimOf("undeleted", "64Mi", corev1.ReadWriteMany)
	none := ""
	claim.Spec.StorageClassName, claim.Spec.VolumeName = &none, "undeleted"
	k.claim(claim)

	if said := k.once("reads", "n2", "undeleted", "cat /data/f"); said != "precious\n" {
		k.fail("the volume that came back has %q", said)
	}

	k.must(k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace).Delete(k.ctx, "undeleted", metav1.DeleteOptions{}))
	k.must(k.plane.Admin.CoreV1().PersistentVolumes().Delete(k.ctx, "undeleted", metav1.DeleteOptions{}))
	k.driver(k.serving).remove(pv.Spec.CSI.VolumeHandle)
	k.must(k.plane.NoneLeft(k.ctx))
}

// writer starts a pod whose programs write to a volume, and follows what they are
// told.
func (k *trial) writer(name, claim string, pv *corev1.PersistentVolume) *lab.Workload {
	k.Helper()

	workload := k.pods.Follow(lab.MountPath + volume.PathOf(nameOf(pv)) + "/files")

	// The port to the host is one of the machine's devices.
	privileged := true

	k.makePod(name, k.pods.Name, claim, fmt.Sprintf("mkdir -p /data/files && exec /agent work /data/files %d 2 1s", k.cluster.Seed),
		&corev1.SecurityContext{Privileged: &privileged})
	k.running(name)
	k.must(workload.AwaitAcknowledged(k.ctx, time.Time{}, 50))

	return workload
}

// endWriter checks that the pod was never started anew, ends it, and holds what it
// was told against what is there.
func (k *trial) endWriter(name string, workload *lab.Workload, faults ...history.Window) {
	k.Helper()

	pod, err := k.plane.Admin.CoreV1().Pods(namespace).Get(k.ctx, name, metav1.GetOptions{})
	k.must(err)

	if pod.Status.Phase != corev1.PodRunning || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		k.fail("the pod is %s and was restarted %d times", pod.Status.Phase, pod.Status.ContainerStatuses[0].RestartCount)
	}

	k.unpod(name)
	k.must(workload.AwaitEnd(k.ctx))
	k.check(workload, faults...)
}

// podAntlerdRestarted is antlerdRestarted with a real pod. A new pod shows that
// kubelet has found the driver again.
func (k *trial) podAntlerdRestarted() {
	k.kubelets()

	pv := k.claim(k.claimOf("restart", "512Mi", corev1.ReadWriteMany))
	workload := k.writer("writer", "restart", pv)

	k.run("systemctl restart antlerd")
	k.must(workload.AwaitAcknowledged(k.ctx, time.Now(), 50))

	killed := time.Now()
	k.run("kill -KILL $(pidof antlerd)")
	k.must(workload.AwaitAcknowledged(k.ctx, killed, 50))

	_, err := k.cluster.AwaitServing(k.ctx, "")
	k.must(err)

	back := time.Now()

	k.once("after", k.pods.Name, "restart", "ls /data")

	k.endWriter("writer", workload, history.Window{From: killed, To: back})
	k.unclaim("restart", pv)
	k.noneLeft()
}

// podPowerCut pulls the plug of the serving node under a pod that writes.
func (k *trial) podPowerCut() {
	k.kubelets()

	pv := k.claim(k.claimOf("cut", "512Mi", corev1.ReadWriteMany))
	workload := k.writer("writer", "cut", pv)

	cut := k.cluster.PowerCut(k.serving)

	k.must(workload.AwaitAcknowledged(k.ctx, cut, 50))

	gap, _ := history.LongestGap(workload.Ops())
	k.result.Figures["gap_ms"] = gap.Milliseconds()
	k.result.Figures["longest_op_ms"] = history.LongestOp(workload.Ops()).Milliseconds()
	k.cluster.Say("the pod's longest gap: %.1f s", gap.Seconds())

	next, err := k.cluster.AwaitServing(k.ctx, k.serving.Name)
	k.must(err)

	back := time.Now()

	k.must(k.cluster.PowerOn(k.ctx, k.serving))

	k.endWriter("writer", workload, history.Window{From: cut, To: back})

	k.serving = next
	k.unclaim("cut", pv)
	k.noneLeft()
}

// nameOf is the name of a persistent volume's volume.
func nameOf(pv *corev1.PersistentVolume) string {
	name, _, _ := strings.Cut(pv.Spec.CSI.VolumeHandle, ":")

	return name
}

// exists reports whether there is a volume of the name, which is not in the
// archive.
func (k *trial) exists(name string) bool {
	k.Helper()

	d := k.driver(k.serving)

	all, err := again(k.ctx, func(ctx context.Context) (*csi.ListVolumesResponse, error) {
		return d.ListVolumes(ctx, &csi.ListVolumesRequest{})
	})
	k.must(err)

	for _, entry := range all.GetEntries() {
		if strings.HasPrefix(entry.GetVolume().GetVolumeId(), name+":") {
			return true
		}
	}

	return false
}
