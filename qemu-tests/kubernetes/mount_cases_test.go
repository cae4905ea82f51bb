//go:build vm

package kubernetes

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

// ownMounts are as many as a node may use volumes.
const ownMounts = maxVolumes

// sharedContainer and ownContainers are the groups of mfsmount's containers.
const (
	sharedContainer = "mfsmount"
	ownContainers   = "mfsvolume-*"
)

// mountPerVolume has volumes of a class with mountMode: volume.
func (k *trial) mountPerVolume() {
	shared := k.driver(k.pods)
	k.result.Figures["shared_mount_pss_kib"] = k.memoryWithVolume(shared)

	d := k.driver(k.pods)
	d.class = map[string]string{"mountMode": "volume"}

	handle := d.create("own-0", 64*mib, nil)
	begin := time.Now()
	pod := d.mount(handle, "own-0")
	k.result.Figures["own_mount_ms"] = time.Since(begin).Milliseconds()

	if size := k.size(pod); size != 64*mib {
		k.fail("df of a volume of 64 MiB says %d bytes", size)
	}

	_, err := d.ControllerExpandVolume(k.ctx, &csi.ControllerExpandVolumeRequest{VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 512 * mib}})
	k.must(err)
	k.restartUnderWriter(d, handle, pod)

	// A pod's file system is not taken from under it.
	staging, _ := place("own-0")

	_, err = d.NodeUnstageVolume(k.ctx, &csi.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: staging})
	if status.Code(err) != codes.FailedPrecondition {
		k.fail("a volume that is published was unstaged: %v", err)
	}

	k.run("rm -rf %s/files && echo still > %s/f", pod, pod)
	k.manyMounts(d, pod)

	d.unmount(handle, "own-0")
	d.remove(handle)
	k.noOwnMountLeft()
	k.noneLeft()
}

// size is what df says.
func (k *trial) size(path string) uint64 {
	k.Helper()

	said := strings.TrimSpace(k.run("df -B1 --output=size %s | tail -n 1", path))
	size, err := strconv.ParseUint(said, 10, 64)
	k.must(err)

	return size
}

// restartUnderWriter restarts antlerd on the node whose pod writes: the mount is
// the same process afterwards, and the pod has got no error.
func (k *trial) restartUnderWriter(d *driver, handle, pod string) {
	before := k.processes(ownContainers)
	workload := k.work(pod)

	k.run("systemctl restart antlerd")
	k.must(workload.AwaitAcknowledged(k.ctx, time.Now(), 50))

	_, err := again(k.ctx, func(ctx context.Context) (*csi.NodeGetVolumeStatsResponse, error) {
		return d.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: pod})
	})
	k.must(err)

	// It is the adopted container that antlerd wants by now, and not one that
	// nobody asks for and that is stopped after a while.
	conn, err := k.cluster.Dial(k.pods)
	k.must(err)
	k.Cleanup(func() { conn.Close() })

	wanted, err := antlerv1.NewNodeServiceClient(conn).GetResources(k.ctx, &antlerv1.GetResourcesRequest{Type: "mountspec"})
	k.must(err)

	if len(wanted.GetResources()) != 1 {
		k.fail("antlerd wants %d mounts of volumes after its restart, not one: %v", len(wanted.GetResources()), wanted)
	}

	k.must(workload.Stop(k.ctx))
	k.check(workload)

	if after := k.processes(ownContainers); before == "" || after != before {
		k.fail("the volume's mount was process %q and is %q", before, after)
	}
}

// manyMounts mounts as many volumes as the node may use, each on its own, and
// measures what a mount takes.
func (k *trial) manyMounts(d *driver, first string) {
	k.exercise(first)

	handles := map[string]string{}

	for i := 1; i < ownMounts; i++ {
		name := fmt.Sprintf("own-%d", i)
		handles[name] = d.create(name, 64*mib, nil)
		k.exercise(d.mount(handles[name], name))
	}

	total := k.memory(ownContainers)
	k.result.Figures["own_mounts"] = ownMounts
	k.result.Figures["own_mounts_pss_kib"] = total
	k.result.Figures["own_mount_pss_kib"] = total / ownMounts

	for name, handle := range handles {
		d.unmount(handle, name)
		d.remove(handle)
	}
}

// memoryWithVolume is what the node-wide mount takes with one volume in use.
func (k *trial) memoryWithVolume(d *driver) uint64 {
	handle := d.create("shared", 64*mib, nil)
	k.exercise(d.mount(handle, "shared"))

	used := k.memory(sharedContainer)

	d.unmount(handle, "shared")
	d.remove(handle)

	return used
}

// exercise writes and reads, so that a mount has its buffers and connections.
func (k *trial) exercise(pod string) {
	k.Helper()
	k.run("dd if=/dev/zero of=%s/exercise bs=1M count=32 conv=fsync && dd if=%s/exercise of=/dev/null bs=1M && rm %s/exercise", pod, pod, pod)
}

// processes are those of the containers, by their numbers.
func (k *trial) processes(containers string) string {
	k.Helper()

	return strings.Join(strings.Fields(k.run("cat /sys/fs/cgroup/antler/%s/cgroup.procs", containers)), " ")
}

// memory is the sum of the proportional set sizes of the containers' processes, in
// KiB: what programs share counts once.
func (k *trial) memory(containers string) uint64 {
	k.Helper()

	var sum uint64

	for pid := range strings.FieldsSeq(k.processes(containers)) {
		said := strings.Fields(k.run("grep ^Pss: /proc/%s/smaps_rollup", pid))
		if len(said) != 3 {
			k.fail("process %s has no proportional set size: %q", pid, said)

			continue
		}

		size, err := strconv.ParseUint(said[1], 10, 64)
		k.must(err)

		sum += size
	}

	return sum
}

// noOwnMountLeft looks for what a volume's mount could leave: a mount, its mount
// point, its container, what is remembered of it.
func (k *trial) noOwnMountLeft() {
	k.Helper()

	for what, command := range map[string]string{
		"mounts":       "grep " + config.VolumeMountDir + "/ /proc/self/mountinfo; true",
		"mount points": "ls -A " + config.VolumeMountDir,
		"records":      "ls -A " + config.VolumeMountRecords,
		"containers":   "ls -d /sys/fs/cgroup/antler/" + ownContainers + " " + config.RunDir + "/containers/" + ownContainers + " 2>/dev/null; true",
		"logs":         "ls -d " + config.RunDir + "/log/" + ownContainers + " 2>/dev/null; true",
	} {
		if left := strings.TrimSpace(k.run("%s", command)); left != "" {
			k.fail("%s are left: %s", what, left)
		}
	}
}
