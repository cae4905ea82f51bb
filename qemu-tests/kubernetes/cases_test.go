//go:build vm

package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab/history"
)

const mib = 1 << 20

// lifecycle does with a volume what a claim can ask for.
func (k *trial) lifecycle() {
	d, other := k.driver(k.pods), k.driver(k.serving)
	handle := d.create("claim-a", 32*mib, nil)
	pod := d.mount(handle, "a")

	k.run("echo one > %s/f && sync", pod)

	// The quota holds, as EDQUOT, and growing the volume lets the pod go on.
	if said := k.run("dd if=/dev/zero of=%s/big bs=1M count=48 conv=fsync 2>&1; true", pod); !strings.Contains(said, "quota exceeded") {
		k.fail("48 MiB went into a volume of 32: %s", said)
	}

	_, err := d.ControllerExpandVolume(k.ctx, &csi.ControllerExpandVolumeRequest{VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 96 * mib}})
	k.must(err)
	k.run("dd if=/dev/zero of=%s/big bs=1M count=48 conv=fsync", pod)

	stats, err := d.NodeGetVolumeStats(k.ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: pod})
	k.must(err)

	if usage := stats.GetUsage()[0]; usage.GetTotal() != 96*mib || usage.GetUsed() < 48*mib || usage.GetUsed() > 49*mib {
		k.fail("the volume has 96 MiB, 48 used, and its stats are %v", usage)
	}

	// One node at a time.
	if err := other.stage(handle, "b"); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "n3") {
		k.fail("a second node must be refused, and told who has the volume: %v", err)
	}

	k.snapshots(d, handle, pod)

	d.unmount(handle, "a")

	// It follows the pod.
	moved := other.mount(handle, "b")

	said, err := k.serving.Console().Run(k.ctx, "cat "+moved+"/f")
	k.must(err)

	if !strings.Contains(said, "two") {
		k.fail("the pod moved and reads %q", said)
	}

	other.unmount(handle, "b")
	d.remove(handle)
	k.undelete(d, handle)
	k.noneLeft()
}

// snapshots takes a snapshot, restores and clones.
func (k *trial) snapshots(d *driver, handle, pod string) {
	taken, err := d.CreateSnapshot(k.ctx, &csi.CreateSnapshotRequest{Name: "monday", SourceVolumeId: handle})
	k.must(err)
	k.run("echo two > %s/f && sync", pod)

	snapshot := taken.GetSnapshot().GetSnapshotId()

	for name, c := range map[string]struct {
		source *csi.VolumeContentSource
		want   string
	}{
		"restored": {&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
		}}, "one"},
		"cloned": {&csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: handle},
		}}, "two"},
	} {
		begin := time.Now()
		second := d.create(name, 96*mib, c.source)
		k.result.Figures[name+"_ms"] = time.Since(begin).Milliseconds()

		at := d.mount(second, name)

		if said := k.run("cat %s/f; sha256sum < %s/big; sha256sum < %s/big", at, at, pod); !copied(said, c.want) {
			k.fail("%s has %q, want %q and all of the large file", name, said, c.want)
		}

		d.unmount(second, name)
		d.remove(second)
	}

	_, err = d.DeleteSnapshot(k.ctx, &csi.DeleteSnapshotRequest{SnapshotId: snapshot})
	k.must(err)
}

// copied reports whether the small file has the content and the two sums that
// follow it are the same.
func copied(said, content string) bool {
	fields := strings.Fields(said)

	return len(fields) == 5 && fields[0] == content && fields[1] == fields[3]
}

// undelete brings a deleted volume back through the API, and Kubernetes finds it
// by the handle that it knew.
func (k *trial) undelete(d *driver, handle string) {
	_, err := d.ControllerGetVolume(k.ctx, &csi.ControllerGetVolumeRequest{VolumeId: handle})
	if status.Code(err) != codes.NotFound {
		k.fail("the deleted volume is still there: %v", err)
	}

	conn, err := k.cluster.Dial(k.serving)
	k.must(err)
	k.Cleanup(func() { conn.Close() })

	name, _, _ := strings.Cut(handle, ":")

	_, err = antlerv1.NewVolumeServiceClient(conn).Undelete(k.ctx, &antlerv1.VolumeServiceUndeleteRequest{Name: name})
	k.must(err)

	if said := k.run("cat %s/f", d.mount(handle, "c")); !strings.Contains(said, "two") {
		k.fail("the volume that came back has %q", said)
	}

	d.unmount(handle, "c")
	d.remove(handle)
}

// antlerdRestarted restarts antlerd under a pod that writes, and then kills it.
// The kill may cost the quorum its leader, and so the master a restart: what was
// under way then may fail (docs/limits.md), as in any failover.
func (k *trial) antlerdRestarted() {
	d := k.driver(k.pods)
	handle := d.create("claim-b", 512*mib, nil)
	pod := d.mount(handle, "a")
	workload := k.work(pod)

	k.run("systemctl restart antlerd")
	k.must(workload.AwaitAcknowledged(k.ctx, time.Now(), 50))

	killed := time.Now()
	k.run("kill -KILL $(pidof antlerd)")
	k.must(workload.AwaitAcknowledged(k.ctx, killed, 50))

	_, err := k.cluster.AwaitServing(k.ctx, "")
	k.must(err)

	back := time.Now()

	// The new antlerd knows of the pod's mount.
	_, err = again(k.ctx, func(ctx context.Context) (*csi.NodeGetVolumeStatsResponse, error) {
		return d.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: pod})
	})
	k.must(err)

	k.result.Figures["driver_back_ms"] = time.Since(killed).Milliseconds()
	k.must(workload.Stop(k.ctx))
	k.check(workload, history.Window{From: killed, To: back})

	d.unmount(handle, "a")
	d.remove(handle)
	k.noneLeft()
}

// powerCut pulls the plug of the serving node under a pod that writes.
func (k *trial) powerCut() {
	d := k.driver(k.pods)
	handle := d.create("claim-c", 512*mib, nil)
	pod := d.mount(handle, "a")
	workload := k.work(pod)

	cut := k.cluster.PowerCut(k.serving)

	k.must(workload.AwaitAcknowledged(k.ctx, cut, 50))

	gap, _ := history.LongestGap(workload.Ops())
	k.result.Figures["gap_ms"] = gap.Milliseconds()
	k.cluster.Say("the pod's longest gap: %.1f s", gap.Seconds())

	// Claims are served by the next node, and it knows who uses what.
	next := d.create("claim-during-failover", 64*mib, nil)
	k.result.Figures["provisioned_again_after_ms"] = time.Since(cut).Milliseconds()
	d.remove(next)

	serving, err := k.cluster.AwaitServing(k.ctx, k.serving.Name)
	k.must(err)

	back := time.Now()

	if err := k.driver(serving).stage(handle, "b"); status.Code(err) != codes.FailedPrecondition {
		k.fail("the node that took over let a second node have the volume: %v", err)
	}

	k.must(k.cluster.PowerOn(k.ctx, k.serving))
	k.must(workload.Stop(k.ctx))
	k.check(workload, history.Window{From: cut, To: back})

	d.unmount(handle, "a")
	d.remove(handle)
	k.noneLeft()
}

// provisioning measures how long a volume takes.
func (k *trial) provisioning() {
	const (
		single = 20
		storm  = 40
	)

	d := k.driver(k.serving)

	var (
		times   []time.Duration
		handles []string
	)

	for i := range single {
		begin := time.Now()
		handles = append(handles, d.create(fmt.Sprintf("one-%d", i), 64*mib, nil))
		times = append(times, time.Since(begin))
	}

	k.percentiles("one", times)

	// Each claim of the storm is asked for twice at the same time.
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		seen  = map[string]string{}
		took  []time.Duration
	)

	begin := time.Now()

	for i := range 2 * storm {
		group.Go(func() {
			name := fmt.Sprintf("storm-%d", i/2)
			handle, err := d.tryCreate(name, 64*mib, nil)

			mu.Lock()
			defer mu.Unlock()

			if err != nil {
				k.fail("create %s: %v", name, err)

				return
			}

			took = append(took, time.Since(begin))

			if first, found := seen[name]; found && first != handle {
				k.fail("%s was made twice: %s and %s", name, first, handle)
			}

			seen[name] = handle
		})
	}

	group.Wait()
	k.percentiles("storm", took)
	k.result.Figures["storm_volumes"] = storm

	for _, handle := range seen {
		handles = append(handles, handle)
	}

	for _, handle := range handles {
		d.remove(handle)
	}
}

func (k *trial) percentiles(of string, times []time.Duration) {
	slices.SortFunc(times, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	k.result.Figures[of+"_p50_ms"] = times[len(times)/2].Milliseconds()
	k.result.Figures[of+"_p99_ms"] = times[len(times)*99/100].Milliseconds()
}
