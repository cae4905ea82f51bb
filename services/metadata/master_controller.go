package metadata

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/containers"
	"antler/services/metadata/files"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/replication"
	"antler/services/resources"
)

// Events records what happened, for the API and the timeline.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// Info is what a master answers about itself.
type Info struct {
	Version                       string
	MetaVersion, MetadataID       uint64
	TotalSpace, FreeSpace, Chunks uint64
	// Chunkservers that are connected.
	Chunkservers int
}

// Prober speaks to the master on this node over its own protocol.
type Prober interface {
	// Probe asks it something, and returns soon after ctx has ended.
	Probe(ctx context.Context) (Info, error)
	// Save has it save all metadata, while it goes on serving.
	Save(ctx context.Context) error
}

// Door is between the clients and the master on this node.
type Door interface {
	// Open lets requests in.
	Open() error
	// Hold lets clients connect, and no request in.
	Hold() error
	// Close keeps them out, while answers still leave.
	Close() error
}

// Disk is the replica's file system on this node.
type Disk interface {
	// HasFileSystem reports whether the device holds the file system.
	HasFileSystem(device string) (bool, error)
	// Format makes it. It is called with the quorum's consent only.
	Format(ctx context.Context, device string) error
	// Mount checks, repairs what a crash left, and mounts at config.MetadataPath.
	Mount(ctx context.Context, device string) error
	// Mounted reports whether it is.
	Mounted() (bool, error)
	// Prepare makes the data directory, with the empty metadata if it is new, and
	// removes what a killed mfsmaster left half written. None may run.
	Prepare(empty bool) error
	// Mend changes what mfsmaster left in a way that it can't start from, and tells
	// what; "" if there is nothing that is known to be so. It is called only after a
	// start that failed.
	Mend() (string, error)
	// Install puts metadata that a restore has staged into the data directory. It
	// is called by a person's word only, and puts aside what is there.
	Install(files.Stored) error
	// Stored is what a start would load.
	Stored() (files.Stored, error)
	// LastTime is the latest time in the last changes, by the clock of who served then.
	LastTime() (time.Time, error)
	// Healthy returns how many bytes are free, or why no master must go on there.
	Healthy() (free uint64, err error)
	// MakeRoom removes what can be done without, and says what; "" if there is nothing. No
	// mfsmaster may run.
	MakeRoom() (string, error)
	// Unmount ends when it is unmounted or ctx does.
	Unmount(ctx context.Context) error
}

// MaxRestarts in place in one epoch; then this node says that it can't serve.
const MaxRestarts = 5

// slowPatience is for how long a master may answer nothing while it is at work,
// waits for its disk or for a processor: killing it would only add a restart to
// the wait. An SD card that erases a block takes a second or two.
const slowPatience = 10 * time.Second

// startingProbe is the pause before something is looked at again that clients wait for.
const startingProbe = 50 * time.Millisecond

// startingWait is for how long the answer of a master that starts is waited for at a
// time: then it is looked whether it still runs and is still wanted.
const startingWait = 200 * time.Millisecond

// holdingProbe is how often the chunkservers are counted for which clients wait.
const holdingProbe = 100 * time.Millisecond

// loadingLook is how often a master that loads is looked at.
const loadingLook = time.Second

// MasterController makes mfsmaster on this node what MasterSpec says.
type MasterController struct {
	Disk   Disk
	Prober Prober
	Killer Killer
	Events Events
	Timing authority.Timing
	Now    func() time.Time
	// Door keeps clients' requests from the master.
	Door Door
	// Reachable reports whether clients can still reach this node's master: a
	// floating address is here.
	Reachable func() bool
	// Heard is told of times that were before on this clock or on another's.
	Heard func(whose string, at time.Time)
	// Activity tells one that hangs from one that is slow.
	Activity func(pid int) node.Activity
}

// Name implements controller.Controller.
func (*MasterController) Name() string { return "metadata.MasterController" }

// Inputs implements controller.Controller.
func (*MasterController) Inputs() []controller.Input {
	return []controller.Input{
		safe.Input[*MasterSpec](controller.InputWeak),
		safe.Input[*replication.ReplicaStatus](controller.InputWeak),
		resources.Input(containers.ContainerStatusType, Container),
		resources.Input(containers.InventoryType, containers.InventoryID),
		resources.Input(node.ConfigType, node.ConfigID),
	}
}

// Outputs implements controller.Controller.
func (*MasterController) Outputs() []controller.Output {
	return []controller.Output{
		{Type: MasterStatusType, Kind: controller.OutputExclusive},
		{Type: replication.DeviceUseType, Kind: controller.OutputExclusive},
		{Type: containers.ContainerSpecType, Kind: controller.OutputShared},
	}
}

// Run implements controller.Controller.
func (c *MasterController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	m := &master{MasterController: c, runtime: r, logger: logger}
	timer := time.NewTimer(time.Hour)

	defer timer.Stop()
	defer m.patient.forget()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-timer.C:
		}

		again, err := m.pass(ctx)
		if err != nil {
			return err
		}

		if again > 0 {
			timer.Reset(again)
		}

		r.ResetRestartBackoff()
	}
}

// master is what the controller remembers between passes.
type master struct {
	*MasterController

	runtime controller.Runtime
	logger  *zap.Logger
	config  *config.Config

	status  MasterStatusSpec
	patient patient
	// wanted is set while a ContainerSpec of generation stands.
	wanted     bool
	generation uint64
	started    time.Time
	failures   int
	// mountedHere: this run of antlerd mounted the file system, so nothing that
	// ran before can be on it.
	mountedHere bool
	// inventory is what is known of the containers.
	inventory containers.InventorySpec
	// endingSince is when it began to wait for the end of the last mfsmaster.
	endingSince time.Time
	// running is the container as last reported, killed the process that was
	// sent SIGKILL.
	running containers.ContainerStatusSpec
	killed  int
	// silentSince is when the first of the failures was, silent the process as it
	// was then, activity as it was at the last.
	silentSince      time.Time
	silent, activity node.Activity
	// lookedAt is when activity was taken of a master that starts.
	lookedAt time.Time
	// ending: mfsmaster ran when it began to stop, at stoppingSince, and has not ended.
	ending        bool
	stoppingSince time.Time
	// announced is the process whose start was told.
	announced int
	// holding: clients' requests are kept out since the master was started, which
	// answered for the first time at answeredAt. See admit. stuck: the door can't be
	// opened, and the log says so.
	holding, stuck bool
	answeredAt     time.Time
	// stumbled: the last start ended before the master answered.
	stumbled bool
	// frozen: the replica's I/O waits for the quorum's word. A master that waits
	// for its disk can't answer, and killing it would change nothing.
	frozen bool
}

// pass does what is next and says when to come again (0: when something
// changes).
func (m *master) pass(ctx context.Context) (time.Duration, error) {
	spec, err := m.read(ctx)
	if err != nil {
		return 0, err
	}

	m.status.Mounted, err = m.Disk.Mounted()
	if err != nil {
		return 0, err
	}

	if m.status.Phase == "" {
		m.status.Phase = PhaseStopped
	}

	if !m.status.Mounted {
		m.status.ReplicaFree = 0
	}

	if spec == nil {
		return 0, m.report(ctx)
	}

	var again time.Duration

	if spec.Run {
		again, err = m.takeOver(ctx, spec)
	} else {
		again, err = m.giveUp(ctx, spec)
	}

	if err != nil {
		m.logger.Warn("master", zap.Error(err))
		m.status.Error = err.Error()
		again = time.Second
	}

	return again, m.report(ctx)
}

// read the inputs; no spec means that nothing is known yet.
func (m *master) read(ctx context.Context) (*MasterSpecSpec, error) {
	cfg, err := safe.ReaderGetByID[*node.NodeConfig](ctx, m.runtime, node.ConfigID)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}

	m.config = cfg.TypedSpec().Config
	m.running = containers.ContainerStatusSpec{}

	container, err := resources.Spec[*containers.ContainerStatus](ctx, m.runtime, Container)
	if err != nil {
		return nil, err
	}

	if container != nil {
		m.running = *container
	}

	inventory, err := resources.Spec[*containers.Inventory](ctx, m.runtime, containers.InventoryID)
	if err != nil {
		return nil, err
	}

	m.inventory = containers.InventorySpec{}
	if inventory != nil {
		m.inventory = *inventory
	}

	replica, err := resources.Spec[*replication.ReplicaStatus](ctx, m.runtime, replication.ReplicaStatusID)
	if err != nil {
		return nil, err
	}

	m.frozen = replica != nil && replica.Suspended != ""

	return resources.Spec[*MasterSpec](ctx, m.runtime, MasterSpecID)
}

// report the status, and to the replica what is made of it.
func (m *master) report(ctx context.Context) error {
	err := safe.WriterModify(ctx, m.runtime, replication.NewDeviceUse(), func(res *replication.DeviceUse) error {
		res.TypedSpec().Mounted = m.status.Mounted
		res.TypedSpec().Alive = m.running.Running && m.running.PID != m.killed || m.wanted && !m.running.Running

		return nil
	})
	if err != nil {
		return fmt.Errorf("report the use of the replica: %w", err)
	}

	return m.reportStatus(ctx)
}

func (m *master) reportStatus(ctx context.Context) error {
	err := safe.WriterModify(ctx, m.runtime, NewMasterStatus(), func(res *MasterStatus) error {
		*res.TypedSpec() = m.status

		return nil
	})
	if err != nil {
		return fmt.Errorf("report master: %w", err)
	}

	return nil
}

// enter a phase, visible to others at once, since the step that follows may
// take long.
func (m *master) enter(ctx context.Context, phase Phase) error {
	m.status.Phase = phase

	return m.report(ctx)
}

func (m *master) emit(kind, format string, args ...any) {
	m.Events.Emit("metadata."+kind, m.status.Epoch, fmt.Sprintf(format, args...))
}

// kill sends SIGKILL; afterwards the process can tell nobody anything.
func (m *master) kill(ctx context.Context) error {
	err := m.Killer.Kill(ctx, Container, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("kill mfsmaster: %w", err)
	}

	m.killed = m.running.PID

	return nil
}

// fail says that this node can't serve in this epoch.
func (m *master) fail(err error) {
	m.status.Phase, m.status.Answering, m.status.Error = PhaseFailed, false, err.Error()
	m.emit("failed", "%v", err)
}
