package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/kubernetes"
	"antler/services/metadata"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/node/clock"
	"antler/services/node/config"
	"antler/services/node/version"
	"antler/services/replication"
	"antler/services/replication/handler"
	"antler/services/server"
	"antler/services/volume"
)

// antlerd is everything that runs in the daemon.
type antlerd struct {
	platform  platform
	config    *config.Config
	timing    authority.Timing
	logger    *zap.Logger
	state     state.State
	events    *server.EventLog
	authority *authority.Authority
	tasks     *containers.Containerd
	runtime   *runtime.Runtime
	server    *server.Server
	handler   *replication.HandlerServer
	volumes   *volume.Store
	clock     *clock.Clock
	// aside saves what a replica holds that is given up.
	aside *metadata.Aside
	// drbd is the kernel's.
	drbd *replication.Module
	// orphans is nil where no pod can have volumes.
	orphans *kubernetes.Orphans
	// mounts of single volumes; nil as well.
	mounts *moosefs.VolumeMounts
	// watchdog is nil where there is none.
	watchdog *node.Watchdog
}

// run the daemon until ctx ends, in order.
func run(ctx context.Context, cfg *config.Config, on platform) error {
	d, err := assemble(ctx, cfg, on)
	if err != nil {
		return err
	}
	defer d.tasks.Close()

	err = keepProgramInMemory()
	if err != nil {
		d.logger.Warn("antlerd may have to be read again while it runs", zap.Error(err))
	}

	listeners, err := d.listen(ctx)
	if err != nil {
		return err
	}

	d.events.Emit("node.started", 0, "antlerd "+version.Version+" started")

	// Everything lives a little longer than ctx: the quorum is told first.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()

	context.AfterFunc(ctx, func() {
		d.leave(life)
		stop()
	})

	group, inner := errgroup.WithContext(life)
	group.Go(func() error { return d.events.Print(inner, os.Stdout) })
	group.Go(func() error { return d.authority.Run(inner) })
	group.Go(func() error { return d.server.Run(inner, listeners...) })
	group.Go(func() error { return d.serveMetrics(inner) })
	group.Go(func() error { return d.runtime.Run(inner) })

	if d.config.Self().Has(config.RoleMetadata) {
		group.Go(func() error { return d.handler.Run(inner) })
	}

	if d.orphans != nil {
		group.Go(func() error { return d.kubeletSockets().Run(inner) })
		group.Go(func() error { return d.orphans.Run(inner) })
	}

	_, err = daemon.SdNotify(false, daemon.SdNotifyReady)
	if err != nil {
		d.logger.Warn("tell systemd", zap.Error(err))
	}

	err = group.Wait()
	d.standDown(context.WithoutCancel(ctx))

	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}

	return err
}

func assemble(ctx context.Context, cfg *config.Config, on platform) (*antlerd, error) {
	d := &antlerd{platform: on, config: cfg, timing: authority.DefaultTiming(), drbd: replication.NewModule(replication.ProcDRBD)}
	d.aside = metadata.HostAside(cfg.Node.Name, cfg.Node.Replica.Device)

	var err error

	d.logger, err = newLogger()
	if err != nil {
		return nil, err
	}

	d.events = server.NewEventLog(cfg.Node.Name, time.Now)
	d.state = state.WrapCore(namespaced.NewState(inmem.Build))

	err = server.RegisterResources(ctx, d.state)
	if err != nil {
		return nil, err
	}

	err = d.state.Create(ctx, node.NewNodeConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("keep the configuration: %w", err)
	}

	if cfg.Node.K3s.Enabled() {
		err = d.state.Create(ctx, node.NewK3sStatus(cfg, "/"))
		if err != nil {
			return nil, fmt.Errorf("look for k3s: %w", err)
		}
	}

	d.tasks, err = containers.NewContainerd(config.ContainerdSocket, d.platform.places)
	if err != nil {
		return nil, err
	}

	d.clock, err = newClock(cfg.PKI, d.events, d.logger)
	if err != nil {
		return nil, err
	}

	d.authority, err = newAuthority(ctx, cfg, d.timing, d.clock, d.logger)
	if err != nil {
		return nil, err
	}

	peer, _ := cfg.Peer()
	d.handler = &replication.HandlerServer{
		Socket: handler.Socket, Fencer: d.authority, Peer: memberAt(cfg.Cluster), OnlyPeer: peer.Name,
		Events: d.events, Logger: d.logger,
	}

	if d.servesKubelet() {
		d.mounts = d.volumeMounts(ctx)
	}

	d.server, err = d.newServer()
	if err != nil {
		return nil, err
	}

	d.runtime, err = d.newRuntime()

	return d, err
}

func newLogger() (*zap.Logger, error) {
	logging := zap.NewProductionConfig()
	logging.Encoding, logging.OutputPaths = "console", []string{"stderr"}
	logging.EncoderConfig.TimeKey = "" // the journal has it
	logging.DisableCaller, logging.DisableStacktrace = true, true

	logger, err := logging.Build()
	if err != nil {
		return nil, fmt.Errorf("set up logging: %w", err)
	}

	return logger, nil
}

func (d *antlerd) newServer() (*server.Server, error) {
	logs := d.platform.places.LogDir()

	return server.New(server.Options{
		Config: d.config, State: d.state, Events: d.events, Logger: d.logger,
		Authority: d.authority, Voters: d.authority, Metadata: hostMetadata{d.places(), d.aside}, StagePath: metadata.StagePath,
		Volumes: d.newStore(),
		Logs: func(ctx context.Context, service string, lines int, follow bool, each func(string) error) error {
			return containers.TailLog(ctx, logs, service, lines, follow, each)
		},
		Systems: hostUpgrade(),
		Register: []func(grpc.ServiceRegistrar){func(registrar grpc.ServiceRegistrar) {
			antlerv1.RegisterPeerServiceServer(registrar, d.authority.PeerServer(peerCaller))
		}, d.registerCSI},
		Now: time.Now,
	})
}

// listen opens the API's listeners.
func (d *antlerd) listen(ctx context.Context) ([]net.Listener, error) {
	tcp, err := server.ListenTCP(ctx, config.APIPort)
	if err != nil {
		return nil, err
	}

	local, err := server.ListenUnix(ctx, config.APISocket)
	if err != nil {
		return nil, err
	}

	listeners := []net.Listener{tcp, local}

	// Only a virtual machine has one.
	guest, err := server.ListenVsock(config.APIPort)
	if err == nil {
		return append(listeners, guest), nil
	}

	if !errors.Is(err, errors.ErrUnsupported) {
		d.logger.Warn("the API has no vsock", zap.Error(err))
	}

	return listeners, nil
}

// serveMetrics for Prometheus. It has no authentication, so it listens on the
// loopback address; a port that is taken is no reason not to serve.
func (d *antlerd) serveMetrics(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", d.server.Metrics())

	web := &http.Server{
		Addr: fmt.Sprintf("127.0.0.1:%d", config.MetricsPort), Handler: mux, ReadHeaderTimeout: 5 * time.Second,
	}

	stop := context.AfterFunc(ctx, func() { _ = web.Close() })
	defer stop()

	err := web.ListenAndServe()
	if err != nil && ctx.Err() == nil {
		d.logger.Warn("there are no metrics", zap.Error(err))
	}

	return nil
}
