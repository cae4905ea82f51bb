//go:build vm

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/qemu-tests/lab"
	"antler/services/node/config"
)

// driver is the CSI driver of one machine, over the network that is never cut.
type driver struct {
	*trial
	csi.ControllerClient
	csi.NodeClient

	machine *lab.Machine
	// class is what a StorageClass has beyond the tests' own parameters, and a
	// persistent volume in its attributes.
	class map[string]string
}

func (k *trial) driver(m *lab.Machine) *driver {
	conn, err := k.cluster.Dial(m)
	k.must(err)
	k.Cleanup(func() { conn.Close() })

	return &driver{trial: k, ControllerClient: csi.NewControllerClient(conn), NodeClient: csi.NewNodeClient(conn), machine: m}
}

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const rwo = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER

// again repeats a call as Kubernetes does, while its error says that it may help.
func again[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()

	for {
		answer, err := call(ctx)

		switch status.Code(err) {
		case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded:
		default:
			return answer, err
		}

		select {
		case <-ctx.Done():
			return answer, errors.Join(ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// create makes a volume, or a copy of source.
func (d *driver) create(name string, size int64, source *csi.VolumeContentSource) string {
	d.Helper()

	handle, err := d.tryCreate(name, size, source)
	d.must(err)

	return handle
}

// tryCreate is create for other goroutines than the test's.
func (d *driver) tryCreate(name string, size int64, source *csi.VolumeContentSource) (string, error) {
	parameters := map[string]string{"archiveTime": "1h"}
	maps.Copy(parameters, d.class)

	made, err := again(d.ctx, func(ctx context.Context) (*csi.CreateVolumeResponse, error) {
		return d.CreateVolume(ctx, &csi.CreateVolumeRequest{
			Name: name, VolumeCapabilities: []*csi.VolumeCapability{capability(rwo)},
			CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeContentSource: source,
			Parameters: parameters,
		})
	})

	return made.GetVolume().GetVolumeId(), err
}

// place is where a pod sees a volume, and where it is staged.
func place(pod string) (staging, target string) {
	dir := filepath.Join(config.DefaultKubeletDir, "pods", pod)

	return filepath.Join(dir, "staging"), filepath.Join(dir, "volume")
}

func (d *driver) stage(handle, pod string) error {
	staging, target := place(pod)

	// As kubelet does.
	_, err := d.machine.Console().Run(d.ctx, fmt.Sprintf("mkdir -p %s %s", staging, filepath.Dir(target)))
	d.must(err)

	_, err = again(d.ctx, func(ctx context.Context) (*csi.NodeStageVolumeResponse, error) {
		return d.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: handle, StagingTargetPath: staging, VolumeCapability: capability(rwo), VolumeContext: d.class})
	})

	return err
}

// mount stages and publishes a volume, and returns where the pod sees it.
func (d *driver) mount(handle, pod string) string {
	d.Helper()
	d.must(d.stage(handle, pod))

	staging, target := place(pod)

	_, err := again(d.ctx, func(ctx context.Context) (*csi.NodePublishVolumeResponse, error) {
		return d.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: handle, StagingTargetPath: staging, TargetPath: target, VolumeCapability: capability(rwo), VolumeContext: d.class,
		})
	})
	d.must(err)

	return target
}

func (d *driver) unmount(handle, pod string) {
	d.Helper()

	staging, target := place(pod)

	_, err := again(d.ctx, func(ctx context.Context) (*csi.NodeUnpublishVolumeResponse, error) {
		return d.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: target})
	})
	d.must(err)

	_, err = again(d.ctx, func(ctx context.Context) (*csi.NodeUnstageVolumeResponse, error) {
		return d.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: staging})
	})
	d.must(err)
}

func (d *driver) remove(handle string) {
	d.Helper()

	_, err := again(d.ctx, func(ctx context.Context) (*csi.DeleteVolumeResponse, error) {
		return d.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: handle})
	})
	d.must(err)
}
