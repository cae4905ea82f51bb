package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/authority/duty"
	"antler/services/authority/report"
	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/metadata/files"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/node/version"
	"antler/services/replication"
	"antler/services/volume"
)

// newRuntime registers the controllers that this node's roles need.
func (d *antlerd) newRuntime() (*runtime.Runtime, error) {
	r, err := runtime.NewRuntime(d.state, d.logger)
	if err != nil {
		return nil, fmt.Errorf("set up the controllers: %w", err)
	}

	list := append(d.everywhere(), d.storage()...)
	if d.config.Self().Has(config.RoleMetadata) {
		list = slices.Concat(list, d.serving(), d.provisioning(), d.releasing())

		if d.config.Cluster.Metadata.Backup.Enabled() {
			list = append(list, d.backups())
		}
	}

	for _, c := range list {
		err = r.RegisterController(c)
		if err != nil {
			return nil, fmt.Errorf("set up the controllers: %w", err)
		}
	}

	return r, nil
}

// everywhere are the controllers of every node.
func (d *antlerd) everywhere() []controller.Controller {
	return []controller.Controller{
		&authority.StatusController{Authority: d.authority, Events: d.events},
		&report.Controller{Authority: d.authority, Version: version.Version},
		&node.ModuleController{
			Loader: d.platform.loader, SysModule: sysModule, Helper: d.platform.helper,
			Helpless: func() bool { return d.drbd.Version() == replication.Version9 },
		},
		d.fence(),
		&containers.Controller{Runtime: d.tasks, LogDir: d.platform.places.LogDir()},
		&containers.LogController{Dir: d.platform.places.LogDir()},
	}
}

const (
	watchdogFeed = 3 * time.Second
	// fenceTell is a small part of the time in which a master must be dead.
	fenceTell = 50 * time.Millisecond
)

func (d *antlerd) fence() *node.FenceController {
	c := &node.FenceController{
		Master: metadata.Container, MayServeUntil: d.authority.MayServeUntil, GuardedUntil: d.authority.GuardedUntil,
		Deadline: d.timing.FenceDeadline, Tell: fenceTell, FeedInterval: watchdogFeed,
		Reset: node.Reset, Events: d.events, Now: time.Now, CanAnswer: node.ProcessCanAnswer,
	}

	var err error

	d.watchdog, err = node.OpenWatchdog(config.WatchdogDevice, d.timing.WatchdogTimeout)
	if err != nil {
		d.logger.Warn("this node is not sure to be reset in time where antlerd hangs or is gone", zap.Error(err))
	}

	// The word that this node is reset in time is worth nothing without a watchdog that
	// does it.
	if d.servesKubelet() && err == nil {
		d.authority.OfferGuard(d.config.Cluster.Kubernetes.DeadNode.Guard())
	}

	if d.watchdog != nil {
		c.Feed = d.watchdog.Feed
	}

	return c
}

// serving are those that may make this node serve.
func (d *antlerd) serving() []controller.Controller {
	door := address.Door{
		Floating: floatingAddresses(d.config.Cluster),
		First:    config.MasterMetaloggerPort, Last: config.MasterClientPort, Requests: config.MasterClientPort,
	}

	err := door.Open()
	if err != nil {
		d.logger.Warn("clients may wait two seconds longer in a failover", zap.Error(err))
	}

	peer, _ := d.config.Peer()
	drbd := replication.DRBD{
		Runner: replication.Programs{}, Config: replication.ConfigPath, Node: d.config.Node.Name, Module: d.drbd,
	}

	return []controller.Controller{
		&duty.Controller{
			Quorum: d.authority, Look: drbd.PeerUpToDate, Peer: peer.Name, Timing: d.timing, Now: time.Now,
			Lossy: d.config.Cluster.Storage.Durability == config.DurabilityLoseSecondsOnPowerCut,
		},
		&replication.SpecController{},
		&replication.ReplicaController{
			Node: d.config.Node.Name, Runner: replication.Programs{}, Device: d.blockDevice(),
			Fencer: d.authority, Saver: d.aside, Events: d.events, Timing: d.timing,
			Config: replication.ConfigPath, Marker: replication.MarkerPath, BreakMark: replication.BreakMarkPath, LossMark: replication.LossMarkPath, SoundMark: replication.SoundMarkPath, Handler: d.handler, Helpers: replication.Helpers{Proc: "/proc"}.Running,
			Module: d.drbd,
		},
		&metadata.SpecController{},
		&metadata.KillController{Killer: d.tasks, Events: d.events},
		&metadata.MasterController{
			Disk: metadata.HostDisk{}, Prober: metadata.NewLocalMaster(), Killer: d.tasks, Events: d.events, Timing: d.timing, Now: time.Now,
			Door: door, Reachable: func() bool { return address.Here(d.config.Cluster.Floating) },
			Activity: node.ProcessActivity, Heard: d.clock.Heard,
		},
		&address.SpecController{},
		&address.Controller{Network: address.Kernel{Nodes: nodeAddresses(d.config.Cluster)}, Events: d.events, Times: address.DefaultTimes()},
		&moosefs.StatusController{
			Master: func(at string) (moosefs.Master, func()) { return moosefs.Client{Address: at}.Kept() },
			Runner: replication.Programs{}, Events: d.events,
		},
		&volume.PurgeController{Store: d.newStore(), Events: d.events},
	}
}

func (d *antlerd) blockDevice() replication.BlockDevice {
	return replication.BlockDevice{Taken: d.platform.taken}
}

// backups makes copies of the metadata while this node serves.
func (d *antlerd) backups() controller.Controller {
	settings := d.config.Cluster.Metadata.Backup

	return &metadata.BackupController{
		Backups: metadata.HostBackups{Config: settings, Places: d.places(), Master: metadata.NewLocalMaster(), Now: time.Now},
		Every:   settings.Every, Events: d.events, Now: time.Now,
	}
}

// storage are those of chunkservers, metaloggers and mounts.
func (d *antlerd) storage() []controller.Controller {
	return []controller.Controller{
		&moosefs.ChunkserverController{
			Stores: moosefs.HostStores{
				Runner: replication.Programs{}, Device: d.blockDevice(),
				Cluster: d.config.Cluster.ID, Root: filepath.Join(config.StateDir, "chunks"),
			},
			Events: d.events, DataPath: filepath.Join(config.StateDir, "chunkserver"),
		},
		&moosefs.MetaloggerController{DataPath: filepath.Join(config.StateDir, "metalogger")},
		&moosefs.MountController{ClientPath: config.MountPath, AdminPath: config.AdminMountPath},
		&moosefs.VolumeMountController{Dir: config.VolumeMountDir},
		&moosefs.MountStatusController{Prober: &moosefs.HostMounts{}, Paths: map[string]string{
			moosefs.ClientMountContainer: config.MountPath, moosefs.AdminMountContainer: config.AdminMountPath,
		}, VolumeDir: config.VolumeMountDir},
		&moosefs.Reconnector{Sockets: moosefs.HostSockets{}, Hastener: moosefs.HostSockets{}, Neighbours: moosefs.HostNeighbours{}, Ask: moosefs.AskMaster, Events: d.events},
		&moosefs.Disconnector{Sockets: moosefs.HostSockets{}, Machines: moosefs.HostMachines{}, Events: d.events},
	}
}

// newStore returns the volumes, of which there is one on each metadata node.
func (d *antlerd) newStore() *volume.Store {
	if d.volumes == nil {
		d.volumes = volume.New(volume.Options{
			Mount: config.AdminMountPath, Cluster: d.config.Cluster.ID,
			Defaults: volume.Defaults{
				Copies:    d.config.Cluster.Storage.Copies,
				TrashTime: time.Duration(d.config.Cluster.Storage.TrashTime) * time.Second,
			},
			Tools: volume.MooseFSTools{Dir: "/usr/bin"}, Verify: volume.VerifyMooseFS, Now: time.Now, NewID: uuid.NewString,
			MayChange: d.mayChange,
			Emit:      func(kind, message string) { d.events.Emit(kind, 0, message) },
		})
	}

	return d.volumes
}

// errNoLease keeps a node from changing volumes that another one may be looking
// after by now.
var errNoLease = errors.New("it has no lease with the quorum")

func (d *antlerd) mayChange() error {
	if !d.authority.LeaseValid() {
		return errNoLease
	}

	return nil
}

func floatingAddresses(cluster config.Cluster) []netip.Addr {
	var out []netip.Addr

	for _, prefix := range cluster.Floating {
		out = append(out, prefix.Addr())
	}

	return out
}

func nodeAddresses(cluster config.Cluster) []netip.Addr {
	var out []netip.Addr

	for _, member := range cluster.Nodes {
		out = append(out, member.Address)
	}

	return out
}

func (d *antlerd) places() files.Places {
	return metadata.HostPlaces(d.config.Node.Name, d.config.Cluster.Metadata.Backup)
}

// hostMetadata is what this node keeps of the metadata.
type hostMetadata struct {
	files.Places

	aside *metadata.Aside
}

// SaveAside implements server.Metadata.
func (m hostMetadata) SaveAside(ctx context.Context) (files.Source, error) { return m.aside.Save(ctx) }

// Save implements server.Metadata.
func (hostMetadata) Save(ctx context.Context) error { return metadata.NewLocalMaster().Save(ctx) }
