package provisioner

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"antler/services/kubernetes"
)

// Work is the provisioner of one epoch: it connects, again and again if need
// be, and works while it is connected. All fields but Dead must be set.
type Work struct {
	Driver  Driver
	Serving func() error
	Cluster string
	// Node is this node's name, for events, and Epoch that in which it serves,
	// for the API server's audit log.
	Node       string
	Version    string
	Epoch      uint64
	Kubeconfig string
	Counts     *Counts
	Backoff    Backoff
	// Interval between two questions whether the API server answers, and between
	// two attempts to connect.
	Interval time.Duration
	Now      func() time.Time
	Logger   *zap.Logger
	// Dead are the nodes whose pods are to be ended, in order. It is nil where the
	// policy doesn't ask for that: then only the taints of antlerd's own that are still
	// there are taken off.
	Dead func() []string
	// Tell writes to the log of the cluster's events.
	Tell func(kind, message string)

	mu    sync.Mutex
	state Connection
}

// Connection is how far the provisioner is.
type Connection struct {
	Server string
	// Working: claims are watched. Err may say all the same why the API server
	// gives no answer now.
	Working bool
	Err     error
	// SnapshotsErr says why VolumeSnapshots are not taken, while claims are provisioned.
	SnapshotsErr error
	// TaintsErr says why the taints of dead nodes are not as they should be.
	TaintsErr error
}

// Interval is the usual one of Work.
const Interval = 15 * time.Second

// Connection returns the present one.
func (w *Work) Connection() Connection {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.state
}

func (w *Work) change(f func(*Connection)) {
	w.mu.Lock()
	defer w.mu.Unlock()

	f(&w.state)
}

// started is Work that was begun.
type started struct {
	*Work

	ended chan struct{}
}

// Ended implements Running.
func (s started) Ended() <-chan struct{} { return s.ended }

// Start begins to work, until ctx ends.
func Start(ctx context.Context, w *Work) Running {
	s := started{Work: w, ended: make(chan struct{})}

	go func() {
		defer close(s.ended)

		w.Run(ctx)
	}()

	return s
}

// Run works until ctx ends. It never gives up: the API server is not what
// storage depends on.
func (w *Work) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}

		w.change(func(c *Connection) { *c = Connection{Server: c.Server, Err: err} })

		if err == nil {
			continue
		}

		w.Logger.Warn("claims are not provisioned", zap.Error(err))

		select {
		case <-ctx.Done():
		case <-time.After(w.Interval):
		}
	}
}

// session works with the kubeconfig as it is now. It returns nil when another
// one is there.
func (w *Work) session(ctx context.Context) error {
	before := digest(w.Kubeconfig)

	config, err := Load(w.Kubeconfig)
	if err != nil {
		return err
	}

	w.change(func(c *Connection) { c.Server = config.Host })

	config.UserAgent = fmt.Sprintf("antlerd/%s (node %s, epoch %d)", w.Version, w.Node, w.Epoch)

	clients, err := Connect(config, w.Serving)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", w.Kubeconfig, err)
	}

	if err := w.check(ctx, clients); err != nil {
		return err
	}

	snapshots := w.snapshots(ctx, clients)

	ctx, stop := context.WithCancel(ctx)
	defer stop()

	group, ctx := errgroup.WithContext(ctx)

	p := w.provisioner(ctx, clients)
	p.TakesSnapshots = snapshots

	group.Go(func() error {
		defer stop()

		return p.Run(ctx)
	})
	group.Go(func() error {
		w.taints(ctx, p)

		return nil
	})
	group.Go(func() error {
		defer stop()
		w.watch(ctx, clients, before, snapshots)

		return nil
	})

	return group.Wait()
}

func (w *Work) provisioner(ctx context.Context, clients Clients) *Provisioner {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(clients.Events)

	context.AfterFunc(ctx, broadcaster.Shutdown)

	return &Provisioner{
		Clients: clients, Driver: w.Driver, Cluster: w.Cluster, Counts: w.Counts, Backoff: w.Backoff, Now: w.Now,
		Recorder: broadcaster.NewRecorder(knownTypes(), corev1.EventSource{Component: kubernetes.DriverName, Host: w.Node}),
		Watching: func(err error) { w.Logger.Debug("a watch of the API server ended, it begins anew", zap.Error(err)) },
	}
}

// watch looks from time to time whether the API server still answers, and ends
// when there is another kubeconfig, or VolumeSnapshots have come.
func (w *Work) watch(ctx context.Context, clients Clients, before [sha256.Size]byte, snapshots bool) {
	ticker := time.NewTicker(w.Interval)
	defer ticker.Stop()

	for {
		err := w.check(ctx, clients)
		w.change(func(c *Connection) { c.Working, c.Err = true, err })

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}

		if digest(w.Kubeconfig) != before {
			w.Logger.Info("the kubeconfig has changed", zap.String("kubeconfig", w.Kubeconfig))

			return
		}

		if !snapshots && w.snapshots(ctx, clients) {
			w.Logger.Info("the cluster has VolumeSnapshots now")

			return
		}
	}
}

func (w *Work) check(ctx context.Context, clients Clients) error {
	if err := clients.Check(ctx); err != nil {
		return fmt.Errorf("API server of kubeconfig %s: %w: check that it runs, and that the credentials have the rights in deploy/kubernetes", w.Kubeconfig, err)
	}

	return nil
}

// snapshots reports whether there are VolumeSnapshots to take. Where that can't be seen
// the status says why, and the log once.
func (w *Work) snapshots(ctx context.Context, clients Clients) bool {
	served, err := clients.snapshotsServed(ctx)
	if ctx.Err() != nil {
		return false
	}

	if err != nil {
		err = fmt.Errorf("API server of kubeconfig %s: %w: check that the credentials have the rights in deploy/kubernetes", w.Kubeconfig, err)
	}

	if said := w.Connection().SnapshotsErr; err != nil && (said == nil || said.Error() != err.Error()) {
		w.Logger.Warn("VolumeSnapshots are not taken", zap.Error(err))
	}

	w.change(func(c *Connection) { c.SnapshotsErr = err })

	return served
}

// digest tells one content of a file from another; a file that can't be read is
// like an empty one.
func digest(path string) [sha256.Size]byte {
	content, err := os.ReadFile(path)
	if err != nil {
		content = nil
	}

	return sha256.Sum256(content)
}
