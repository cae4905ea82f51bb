//go:build vm

package kubernetes

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// adopted makes a directory as another provisioner would, has it become a volume,
// and a pod reads it by a handle that no claim was provisioned for.
func (k *trial) adopted() {
	const from = "/exports/shop-photos-pvc-0815"

	at := "/var/lib/antler/mnt" + from
	k.run("mkdir -p %s/sub && echo precious > %s/f && dd if=/dev/zero of=%s/sub/big bs=1M count=8 conv=fsync && sync", at, at, at)

	conn, err := k.cluster.Dial(k.serving)
	k.must(err)
	k.Cleanup(func() { conn.Close() })

	volumes := antlerv1.NewVolumeServiceClient(conn)
	request := &antlerv1.VolumeServiceAdoptRequest{Name: "adopted", From: from, SizeBytes: 4 * mib, InodeLimit: 5}

	_, err = volumes.Adopt(k.ctx, request)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "it holds") {
		k.fail("8 MiB don't fit into 4: %v", err)
	}

	request.SizeBytes = 32 * mib

	first, err := volumes.Adopt(k.ctx, request)
	k.must(err)

	again, err := volumes.Adopt(k.ctx, request)
	k.must(err)

	v := first.GetVolume()
	if again.GetVolume().GetId() != v.GetId() || v.GetUsedBytes() < 8*mib || v.GetUsedInodes() != 3 || v.GetInodeLimit() != 5 {
		k.fail("8 MiB in 3 inodes were adopted once: %v, and again %v", v, again.GetVolume())
	}

	d := k.driver(k.pods)
	handle := v.GetName() + ":" + v.GetId()
	pod := d.mount(handle, "adopted")

	if said := k.run("cat %s/f; stat -c %%s %s/sub/big", pod, pod); !strings.Contains(said, "precious") || !strings.Contains(said, "8388608") {
		k.fail("the pod reads %q", said)
	}

	// Both quotas hold.
	if said := k.run("dd if=/dev/zero of=%s/more bs=1M count=48 conv=fsync 2>&1; rm -f %s/more; true", pod, pod); !strings.Contains(said, "quota exceeded") {
		k.fail("48 MiB went into a volume of 32: %s", said)
	}

	if said := k.run("for i in 1 2 3; do mkdir %s/dir-$i 2>&1; done; true", pod); !strings.Contains(said, "quota exceeded") {
		k.fail("6 inodes went into a volume of 5: %s", said)
	}

	d.unmount(handle, "adopted")
	d.remove(handle)
	k.run("rmdir /var/lib/antler/mnt/exports")
	k.noneLeft()
}
