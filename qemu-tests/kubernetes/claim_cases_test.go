//go:build vm

package kubernetes

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/qemu-tests/lab"
	"antler/services/volume"
)

// claims has what is promised of claims without any pod.
func (k *trial) claims() {
	const single = 10

	var (
		times []time.Duration
		made  = map[string]*corev1.PersistentVolume{}
	)

	for i := range single {
		name := fmt.Sprintf("one-%d", i)
		begin := time.Now()
		made[name] = k.claim(k.claimOf(name, "64Mi", corev1.ReadWriteMany))
		times = append(times, time.Since(begin))
	}

	k.percentiles("bound", times)

	begin := time.Now()

	k.resize("one-0", "128Mi")

	k.result.Figures["expanded_ms"] = time.Since(begin).Milliseconds()

	k.cloned(made)
	k.retained()

	begin = time.Now()

	k.must(k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace).DeleteCollection(k.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	k.must(k.plane.NoneLeft(k.ctx))

	k.result.Figures["deleted_ms"] = time.Since(begin).Milliseconds()

	k.sameVolumes(nil)
}

// cloned makes a claim with another one as its source.
func (k *trial) cloned(made map[string]*corev1.PersistentVolume) {
	at := func(pv *corev1.PersistentVolume) string { return lab.MountPath + volume.PathOf(nameOf(pv)) }

	k.run("echo original > %s/f && sync", at(made["one-1"]))

	claim := k.claimOf("clone", "64Mi", corev1.ReadWriteMany)
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "one-1"}
	begin := time.Now()
	made["clone"] = k.claim(claim)
	k.result.Figures["cloned_ms"] = time.Since(begin).Milliseconds()

	if said := k.run("cat %s/f", at(made["clone"])); said != "original\n" {
		k.fail("the clone has %q", said)
	}
}

// retained deletes a claim whose volume is to stay, and then lets that go as well.
func (k *trial) retained() {
	claim, class := k.claimOf("retained", "64Mi", corev1.ReadWriteMany), "moosefs-retain"
	claim.Spec.StorageClassName = &class
	pv := k.claim(claim)

	k.must(k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace).Delete(k.ctx, "retained", metav1.DeleteOptions{}))
	k.await("the persistent volume is released", func() error { return k.plane.VolumeReleased(k.ctx, pv.Name) })

	// One that came and went after it shows that nothing is pending.
	k.unclaim("after", k.claim(k.claimOf("after", "64Mi", corev1.ReadWriteMany)))

	if !k.exists(nameOf(pv)) {
		k.fail("the retained volume is gone")
	}

	k.must(k.plane.LetGo(k.ctx, pv.Name))
	k.await("the persistent volume is gone", func() error { return k.plane.VolumeGone(k.ctx, pv.Name) })
}

// stormClaims is what CLAIMS= says, or as many as emulated machines make in a minute.
func (k *trial) stormClaims() int {
	k.Helper()

	said := os.Getenv("CLAIMS")
	if said == "" {
		return 50
	}

	claims, err := strconv.Atoi(said)
	if err != nil || claims < 3 {
		k.fail("CLAIMS=%s: give a number of claims, 3 or more", said)
		k.FailNow()
	}

	return claims
}

// claimStorm cuts the serving node's power while it provisions.
func (k *trial) claimStorm() {
	claims := k.stormClaims()

	k.must(k.plane.NoneLeft(k.ctx))

	begin := time.Now()

	storm, err := k.plane.Storm(k.ctx, claims, func(name string) *corev1.PersistentVolumeClaim {
		return k.claimOf(name, "16Mi", corev1.ReadWriteMany)
	})
	k.must(err)
	k.must(storm.Created())

	_, err = storm.AwaitBound(k.ctx, claims/3)
	k.must(err)

	cut := k.cluster.PowerCut(k.serving)

	// Read after it, so that it is no fewer than there were.
	bound := storm.Bound()
	k.result.Figures["bound_at_cut"] = bound

	if bound == claims {
		k.fail("all %d claims were bound before the power cut, which so showed nothing", claims)
	}

	next, err := k.cluster.AwaitServing(k.ctx, k.serving.Name)
	k.must(err)

	k.result.Figures["served_again_ms"] = time.Since(cut).Milliseconds()

	took, err := storm.AwaitBound(k.ctx, claims)
	k.must(err)

	k.result.Figures["claims"], k.result.Figures["all_bound_ms"] = claims, time.Since(begin).Milliseconds()
	k.percentiles("bound", took)
	k.cluster.Say("all %d claims are bound after %.0f s", claims, time.Since(begin).Seconds())

	handles, err := k.plane.OneVolumeEach(k.ctx, claims)
	k.must(err)

	k.must(k.cluster.PowerOn(k.ctx, k.serving))

	k.serving = next
	k.sameVolumes(handles)

	begin = time.Now()

	k.must(k.plane.Admin.CoreV1().PersistentVolumeClaims(namespace).DeleteCollection(k.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	k.must(k.plane.NoneLeft(k.ctx))

	k.result.Figures["all_deleted_ms"] = time.Since(begin).Milliseconds()
}

// sameVolumes checks that the volumes on MooseFS are those with the handles.
func (k *trial) sameVolumes(handles map[string]bool) {
	d := k.driver(k.serving)

	all, err := again(k.ctx, func(ctx context.Context) (*csi.ListVolumesResponse, error) {
		return d.ListVolumes(ctx, &csi.ListVolumesRequest{})
	})
	k.must(err)

	if len(all.GetEntries()) != len(handles) {
		k.fail("%d claims have %d volumes", len(handles), len(all.GetEntries()))
	}

	for _, entry := range all.GetEntries() {
		if id := entry.GetVolume().GetVolumeId(); !handles[id] {
			k.fail("volume %s is nobody's", id)
		}
	}
}
