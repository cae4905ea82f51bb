package moosefs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/metadata"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/resources"
)

// statusInterval is how often the master is asked; five questions cost it less
// than one client's second.
const statusInterval = 5 * time.Second

// afterTakeover is what clients and chunkservers get, who all come back at once, before
// a new master is asked anything.
const afterTakeover = 2 * time.Second

// defaultsTimeout is for MooseFS's tools, which wait as long as the mount does.
const defaultsTimeout = 20 * time.Second

// StatusController reports, on the node that serves, what the master knows of
// the storage; and sets the defaults for new data once the admin mount is
// there.
type StatusController struct {
	// Master returns the one at an address, for several questions; done is called after
	// the last one.
	Master func(address string) (m Master, done func())
	Runner Runner
	Events Events
}

// Name implements controller.Controller.
func (*StatusController) Name() string { return "moosefs.StatusController" }

// Inputs implements controller.Controller.
func (*StatusController) Inputs() []controller.Input {
	return []controller.Input{
		nodeConfigInput(), masterStatusInput(),
		resources.Input(MountStatusType, AdminMountContainer),
	}
}

// Outputs implements controller.Controller.
func (*StatusController) Outputs() []controller.Output {
	return []controller.Output{{Type: StatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *StatusController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	timer := time.NewTimer(statusInterval)
	defer timer.Stop()

	var now served

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-timer.C:
		}

		cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, r, node.ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		epoch, err := serving(ctx, r)
		if err != nil {
			return err
		}

		if epoch != now.epoch {
			now = served{epoch: epoch, next: time.Now().Add(afterTakeover)}
		}

		if epoch == 0 {
			err = takeBack(ctx, r)
			now.next = time.Now().Add(statusInterval)
		} else {
			err = c.look(ctx, r, cfg.TypedSpec().Cluster, &now, logger)
		}

		if err != nil {
			return err
		}

		timer.Reset(max(time.Until(now.next), time.Millisecond))
		r.ResetRestartBackoff()
	}
}

// served is the epoch in which this node's master answers.
type served struct {
	// epoch is 0 where none does.
	epoch uint64
	// next is when it is asked again, asked that it has been.
	next  time.Time
	asked bool
	// defaults were seen to be right.
	defaults bool
}

// look asks the master when that is due; and sets the defaults as soon as that can be
// done.
func (c *StatusController) look(ctx context.Context, r controller.ReaderWriter, cluster config.Cluster, now *served, logger *zap.Logger) error {
	due := !time.Now().Before(now.next)

	if !now.defaults && (due || now.asked) {
		now.defaults = c.setDefaults(ctx, r, cluster.Storage, now.epoch, logger)
		due = due || now.defaults
	}

	if !due {
		return nil
	}

	now.next, now.asked = time.Now().Add(statusInterval), true

	return c.report(ctx, r, cluster, now.defaults)
}

// takeBack what another node's master knows now.
func takeBack(ctx context.Context, r controller.Runtime) error {
	r.StartTrackingOutputs()

	err := safe.CleanupOutputs[*Status](ctx, r)
	if err != nil {
		return fmt.Errorf("take back what is no longer so: %w", err)
	}

	return nil
}

// serving returns the epoch in which this node's master answers, or 0. One that saves
// before it stops does so, too.
func serving(ctx context.Context, r controller.Reader) (uint64, error) {
	master, err := resources.Spec[*metadata.MasterStatus](ctx, r, metadata.MasterStatusID)
	if err != nil || master == nil || !master.Answering {
		return 0, err
	}

	return master.Epoch, nil
}

// setDefaults reports whether the defaults are right.
func (c *StatusController) setDefaults(ctx context.Context, r controller.Reader, storage config.Storage, epoch uint64, logger *zap.Logger) bool {
	mount, err := safe.ReaderGetByID[*MountStatus](ctx, r, AdminMountContainer)
	if err != nil || !mount.TypedSpec().Alive {
		return false
	}

	ctx, cancel := context.WithTimeout(ctx, defaultsTimeout)
	defer cancel()

	err = SetDefaults(ctx, c.Runner, mount.TypedSpec().Path, storage)
	if err != nil {
		logger.Warn("the defaults for new data are not set", zap.Error(err))

		return false
	}

	c.Events.Emit("storage.defaults", epoch, fmt.Sprintf("new data gets %d copies and stays in the trash for %d s", storage.Copies, storage.TrashTime))

	return true
}

func (c *StatusController) report(ctx context.Context, r controller.Writer, cluster config.Cluster, defaults bool) error {
	address, err := MasterAddress(cluster)
	if err != nil {
		return err
	}

	master, done := c.Master(address)
	defer done()

	spec, askErr := ask(ctx, master, cluster)
	spec.DefaultsSet = defaults

	err = safe.WriterModify(ctx, r, NewStatus(), func(res *Status) error {
		if askErr == nil {
			*res.TypedSpec() = spec
		} else {
			// What was known is better than nothing.
			res.TypedSpec().Error = askErr.Error()
		}

		return nil
	})
	if err != nil {
		return fmt.Errorf("report the storage: %w", err)
	}

	return nil
}

// ask puts the answers of a master together.
func ask(ctx context.Context, master Master, cluster config.Cluster) (StatusSpec, error) {
	info, err := master.Info(ctx)
	if err != nil {
		return StatusSpec{}, err
	}

	chunkservers, err1 := master.Chunkservers(ctx)
	sessions, err2 := master.Sessions(ctx)
	metaloggers, err3 := master.Metaloggers(ctx)
	health, err4 := master.Health(ctx)

	err = errors.Join(err1, err2, err3, err4)
	if err != nil {
		return StatusSpec{}, err
	}

	spec := StatusSpec{
		Version: info.Version.String(), MetaVersion: info.MetaVersion, Asked: info.Now,
		TotalSpace: info.TotalSpace, FreeSpace: info.AvailSpace, TrashSpace: info.TrashSpace,
		Chunks: health.Chunks, Missing: health.Missing, Endangered: health.Endangered,
		Undergoal: health.Undergoal, Settled: health.Settled,
	}

	for _, session := range sessions {
		if session.Connected {
			spec.Sessions++
		}
	}

	for _, cs := range chunkservers {
		spec.Chunkservers = append(spec.Chunkservers, ChunkserverStatus{
			Address: cs.Address.String(), Node: member(cluster, cs.Address.Addr()),
			Connected: cs.Connected, Maintenance: cs.Maintenance, Version: cs.Version.String(),
			Used: cs.Used, Total: cs.Total, Chunks: cs.Chunks, Errors: cs.Errors,
		})
	}

	for _, ml := range metaloggers {
		spec.Metaloggers = append(spec.Metaloggers, MetaloggerStatus{
			Address: ml.Address.String(), Node: member(cluster, ml.Address), Version: ml.Version.String(),
		})
	}

	// The master's order is that of its hash tables.
	slices.SortFunc(spec.Chunkservers, func(a, b ChunkserverStatus) int { return strings.Compare(a.Address, b.Address) })
	slices.SortFunc(spec.Metaloggers, func(a, b MetaloggerStatus) int { return strings.Compare(a.Address, b.Address) })

	return spec, nil
}

// member names the node with an address; servers from outside Antler have none.
func member(cluster config.Cluster, address netip.Addr) string {
	for _, m := range cluster.Nodes {
		if m.Address == address {
			return m.Name
		}
	}

	return ""
}

func masterStatusInput() controller.Input {
	return resources.Input(metadata.MasterStatusType, metadata.MasterStatusID)
}
