package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"antler/services/containers"
	"antler/services/kubernetes"
	"antler/services/kubernetes/provisioner"
	"antler/services/moosefs"
	"antler/services/moosefs/protocol"
	"antler/services/node/config"
	"antler/services/node/version"
	"antler/services/volume"
)

// registerCSI adds the CSI driver to the API. Its controller is on every node:
// the API passes its calls on to the node that serves.
func (d *antlerd) registerCSI(registrar grpc.ServiceRegistrar) {
	if !d.config.Cluster.Kubernetes.Enabled {
		return
	}

	cluster := d.config.Cluster

	csi.RegisterIdentityServer(registrar, &kubernetes.Identity{Version: version.Version})
	csi.RegisterControllerServer(registrar, d.csiController())

	if !d.servesKubelet() {
		return
	}

	// It connects when it is first used, and then by the way that everybody
	// takes: this node's API knows who serves.
	conn, err := grpc.NewClient("unix://"+config.APISocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		d.logger.Error("there is no CSI node service", zap.Error(err))

		return
	}

	remote := kubernetes.Remote{Controller: csi.NewControllerClient(conn)}
	node := &kubernetes.Node{
		Name: d.config.Node.Name, Cluster: cluster.ID, Kubelet: cluster.Kubernetes.Kubelet(), MaxVolumes: cluster.Kubernetes.MaxVolumes,
		Data: d.nodeStore(), Mounter: kubernetes.NewHostMounts(cluster.Kubernetes.Kubelet(), config.MountPath, config.VolumeMountDir),
		Own: d.mounts, Uses: remote,
	}
	d.orphans = &kubernetes.Orphans{Node: node, Volumes: remote, Logger: d.logger}

	csi.RegisterNodeServer(registrar, node)
}

func (d *antlerd) csiController() *kubernetes.Controller {
	cluster := d.config.Cluster

	return &kubernetes.Controller{
		Volumes: d.newStore(), Cluster: cluster.ID, Nodes: clientNodes(cluster), Serving: d.mayChange,
		Copies: cluster.Storage.Copies, MaxVolumes: cluster.Kubernetes.MaxVolumes, Dead: d.authority.IsDead,
	}
}

// releasing gives the volumes of dead nodes to others.
func (d *antlerd) releasing() []controller.Controller {
	if !d.config.Cluster.Kubernetes.DeadNode.Release {
		return nil
	}

	return []controller.Controller{&kubernetes.ReleaseController{
		Volumes: d.newStore(), Nodes: clientNodes(d.config.Cluster), Dead: d.authority.IsDead, Events: d.events,
	}}
}

// tainting returns which nodes are to have Kubernetes's out-of-service taint, nil
// where none is to have it, dead or not.
func (d *antlerd) tainting() func() []string {
	if policy := d.config.Cluster.Kubernetes.DeadNode; !policy.Release || !policy.Taint {
		return nil
	}

	nodes := clientNodes(d.config.Cluster)

	return func() []string {
		return slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return !d.authority.IsDead(node) })
	}
}

// provisioning are the controllers that make claims into volumes, where the
// configuration says how to reach the API server.
func (d *antlerd) provisioning() []controller.Controller {
	kubeconfig := d.config.Kubeconfig()
	if !d.config.Cluster.Kubernetes.Enabled || kubeconfig == "" {
		return nil
	}

	counts := &provisioner.Counts{}
	logger := d.logger.With(zap.String("component", "provisioner"))

	return []controller.Controller{&provisioner.Controller{
		Kubeconfig: kubeconfig, Counts: counts, Now: time.Now,
		Start: func(ctx context.Context, epoch uint64) provisioner.Running {
			return provisioner.Start(ctx, &provisioner.Work{
				Driver: d.csiController(), Serving: d.mayChange, Cluster: d.config.Cluster.ID,
				Node: d.config.Node.Name, Version: version.Version, Epoch: epoch,
				Kubeconfig: kubeconfig, Counts: counts, Backoff: provisioner.DefaultBackoff(),
				Interval: provisioner.Interval, Now: time.Now, Logger: logger,
				Dead: d.tainting(), Tell: func(kind, message string) { d.events.Emit(kind, epoch, message) },
			})
		},
	}}
}

// servesKubelet reports whether pods of this node may have volumes.
func (d *antlerd) servesKubelet() bool {
	return d.config.Cluster.Kubernetes.Enabled && d.config.Self().Has(config.RoleClient)
}

func (d *antlerd) kubeletSockets() *kubernetes.Sockets {
	return &kubernetes.Sockets{
		Registration: &kubernetes.Registration{Kubelet: d.config.Cluster.Kubernetes.Kubelet(), Logger: d.logger},
		Serve:        d.server.Serve,
	}
}

// volumeMounts are the mounts of single volumes on this node, with those that an
// earlier run of antlerd was asked for.
func (d *antlerd) volumeMounts(ctx context.Context) *moosefs.VolumeMounts {
	mounts := moosefs.NewVolumeMounts(moosefs.VolumeMounts{
		State: d.state, Dir: config.VolumeMountDir, Records: config.VolumeMountRecords, Logs: d.platform.places.LogDir(),
		Self: d.config.Self().Address, Verify: volume.VerifyMooseFS, Release: containers.UnshareMountpoint,
		Sessions: func(ctx context.Context) ([]protocol.SessionRoot, error) {
			master, err := moosefs.MasterAddress(d.config.Cluster)
			if err != nil {
				return nil, err
			}

			return protocol.Client{Address: master}.SessionRoots(ctx)
		},
	})

	if err := mounts.Restore(ctx); err != nil {
		d.logger.Error("pods may lose a mount", zap.Error(err))
	}

	return mounts
}

// errReadOnly: a client node's mount is for looking.
var errReadOnly = errors.New("volumes are changed on the serving node")

// nodeStore is the volumes as this node's own mount shows them.
func (d *antlerd) nodeStore() *volume.Store {
	return volume.New(volume.Options{
		Mount: config.MountPath, Cluster: d.config.Cluster.ID,
		Tools: volume.MooseFSTools{Dir: "/usr/bin"}, Verify: volume.VerifyMooseFS, Now: time.Now, NewID: uuid.NewString,
		MayChange: func() error { return errReadOnly },
	})
}

func clientNodes(cluster config.Cluster) []string {
	var out []string

	for _, member := range cluster.With(config.RoleClient) {
		out = append(out, member.Name)
	}

	return out
}
