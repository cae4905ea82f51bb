//go:build vm

package kubernetes

import (
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"antler/services/kubernetes"
)

// podSnapshot takes a snapshot under a pod that has the volume.
func (k *trial) podSnapshot() {
	k.kubelets()

	crds := os.Getenv("ANTLER_CRDS")
	if crds == "" {
		k.fail("ANTLER_CRDS: is not set: run `make test-kubernetes`")
		k.FailNow()
	}

	k.must(k.plane.DefineSnapshots(k.ctx, crds))
	k.must(k.plane.SnapshotClass(k.ctx, "moosefs", kubernetes.DriverName))

	pv := k.claim(k.claimOf("source", "64Mi", corev1.ReadWriteMany))

	k.makePod("holds", "n3", "source", "echo one > /data/f && sync && exec sleep 3600", nil)
	k.running("holds")
	k.once("waits", "n2", "source", "until [ -s /data/f ] ; do sleep 0.2; done")

	begin := time.Now()

	k.must(k.plane.Snapshot(k.ctx, "monday", "moosefs", "source"))

	_, err := k.plane.AwaitSnapshot(k.ctx, "monday")
	k.must(err)

	k.result.Figures["ready_ms"] = time.Since(begin).Milliseconds()

	k.once("changes", "n2", "source", "echo two > /data/f && sync")

	group := "snapshot.storage.k8s.io"
	claim := k.claimOf("restored", "64Mi", corev1.ReadWriteOnce)
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "monday"}
	begin = time.Now()
	restored := k.claim(claim)
	k.result.Figures["restored_ms"] = time.Since(begin).Milliseconds()

	if said := k.once("reads", "n2", "restored", "cat /data/f"); said != "one\n" {
		k.fail("the restored volume has %q", said)
	}

	k.must(k.plane.RemoveSnapshot(k.ctx, "monday"))
	k.unpod("holds")
	k.unclaim("restored", restored)
	k.unclaim("source", pv)
}
