package replication

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"go.uber.org/zap"

	"antler/services/authority"
	"antler/services/resources"
)

// Events is the log of what happened, for people.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// ReplicaController makes the replica what ReplicaSpec says, and reports it.
type ReplicaController struct {
	// Node is this node's name.
	Node   string
	Runner Runner
	Device Device
	Fencer Fencer
	// Saver saves the metadata of a replica that is given up.
	Saver  Saver
	Events Events
	Timing authority.Timing
	// Config, Marker, BreakMark, LossMark and SoundMark are ConfigPath, MarkerPath,
	// BreakMarkPath, LossMarkPath and SoundMarkPath but in tests.
	Config, Marker, BreakMark, LossMark, SoundMark string
	// Module is the kernel's DRBD; nil stands for 8.4.
	Module *Module
	// Handler is DRBD's fence-peer handler.
	Handler Handler
	// Helpers reports whether the kernel waits for that: see Helpers.
	Helpers func() (bool, error)
}

// Handler answers DRBD's fence-peer handler; see HandlerServer.
type Handler interface {
	// Fencing reports whether it is being answered.
	Fencing() bool
	// Refuse ends with a no what is being asked and, until it is called with false,
	// all that is asked.
	Refuse(refuse bool)
}

// Name implements controller.Controller.
func (*ReplicaController) Name() string { return "replication.ReplicaController" }

// Inputs implements controller.Controller.
func (*ReplicaController) Inputs() []controller.Input {
	return []controller.Input{resources.Input(ReplicaSpecType, ReplicaSpecID)}
}

// Outputs implements controller.Controller.
func (*ReplicaController) Outputs() []controller.Output {
	return []controller.Output{{Type: ReplicaStatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *ReplicaController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	ctx, cancel := context.WithCancel(ctx)

	k := &keeping{
		ReplicaController: c,
		logger:            logger,
		watch:             newWatch(),
		done:              make(chan outcome, 1),
		failures:          map[step]int{},
		notBefore:         map[step]time.Time{},
		loss:              mark{c.LossMark},
		comparison:        comparison{sound: mark{c.SoundMark}, after: c.Timing.CompareAfter, every: c.Timing.CompareEvery},
	}
	k.actions = actions{
		drbd:      DRBD{Runner: c.Runner, Config: c.Config, Node: c.Node, Module: c.Module},
		inspector: inspector{device: c.Device, runner: c.Runner, marker: markerFile{c.Marker}},
		mark:      mark{c.BreakMark},
		sound:     mark{c.SoundMark},
		fencer:    c.Fencer,
		saver:     c.Saver,
		timing:    c.Timing,
		helpers:   c.Helpers,
	}

	defer k.running.Wait()
	defer cancel()

	k.running.Go(func() { k.watch.run(ctx, k.drbd, logger) })

	// What an antlerd before this one knew.
	k.lossMarked = k.loss.there()
	k.lost = k.lossMarked

	if k.mark.there() {
		k.breaksOff()
	}

	for {
		var timer <-chan time.Time
		if k.wait > 0 {
			timer = time.After(k.wait)
		}

		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-k.watch.changed:
		case out := <-k.done:
			k.finish(out)
		case <-timer:
		}

		spec, err := resources.Read[*ReplicaSpec](ctx, r, ReplicaSpecID)
		if err != nil {
			return err
		}

		k.spec = nil
		if spec != nil {
			k.spec = new(spec.TypedSpec().DeepCopy())
		}

		k.reconcile(ctx)

		err = k.report(ctx, r)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

// keeping is the controller at work. It is used by the controller's own
// goroutine; steps and the watch run beside it and tell it through channels.
type keeping struct {
	*ReplicaController
	actions

	logger  *zap.Logger
	watch   *watch
	running sync.WaitGroup

	spec   *ReplicaSpecSpec
	kernel kernel
	found  finding
	// inspectAt is when the device is looked at again.
	inspectAt time.Time
	// config is what the kernel was last configured with.
	config string
	// broken: it was broken off at brokenAt. lost: its disk failed.
	broken, lost bool
	brokenAt     time.Time
	// loss is where the latter is remembered, and lossMarked what it says.
	loss       mark
	lossMarked bool
	// reached is the role that was reached in epoch; promoting was given up in
	// failedEpoch.
	reached            Role
	epoch, failedEpoch uint64
	// percent in sync, as last measured.
	percent    float64
	comparison comparison

	// current is the step under way and stop ends it; done tells its outcome.
	current step
	stop    context.CancelFunc
	begun   ReplicaSpecSpec
	done    chan outcome
	// wait is until when nothing is to be done.
	wait      time.Duration
	failures  map[step]int
	notBefore map[step]time.Time
	// problem is why the last step failed.
	problem     error
	problemStep step
}

// reconcile takes in what the kernel told and starts the next step.
func (k *keeping) reconcile(ctx context.Context) {
	before := k.kernel
	k.kernel = k.watch.look()
	k.tell(before, k.kernel)
	k.beginsAnew()
	k.notesLoss()
	k.refuseHandler()
	k.settle()

	now := time.Now()

	k.comparison.note(before, k.kernel, now)

	// What is attached next is another disk.
	if k.comparison.overwritten(k.kernel) || k.kernel.known && !k.kernel.exists {
		k.keepSound(k.sound.clear())
	}

	k.wait = sooner(k.untilLate(), k.comparison.wait(now))
	k.lookAgain()

	chosen := next(k.situation())
	k.forget(chosen)

	if k.current != stepNone {
		if !k.current.stillWanted(&k.begun, k.spec) || (chosen == stepBreak && k.current != stepBreak) {
			k.stop()
		}

		return
	}

	if chosen == stepNone {
		// Nothing tells of the end of the handler's question.
		if k.kernel.alone() && k.Handler.Fencing() {
			k.wait = sooner(k.wait, stepConnect.pause(0))
		}

		if k.unusable() {
			k.wait = sooner(k.wait, max(time.Millisecond, k.inspectAt.Sub(now)))
		}

		return
	}

	if at := k.notBefore[chosen]; now.Before(at) {
		k.wait = sooner(k.wait, at.Sub(now))

		return
	}

	k.start(ctx, chosen)
}

// unusable reports whether the device is one that somebody may yet connect, wipe
// or fill.
func (k *keeping) unusable() bool {
	return k.spec != nil && k.kernel.known && !k.kernel.exists && k.found.phase != PhaseUnknown
}

// lookAgain has such a device inspected from time to time.
func (k *keeping) lookAgain() {
	if k.unusable() && k.current == stepNone && !time.Now().Before(k.inspectAt) {
		k.found.again()
	}
}

// forget drops a problem that has gone away by itself.
func (k *keeping) forget(chosen step) {
	givenUp := k.problemStep == stepPromote && k.spec != nil && k.failedEpoch == k.spec.Epoch

	if chosen != k.problemStep && chosen != stepInspect && !givenUp {
		k.problem, k.problemStep = nil, stepNone
	}
}

// settle notes what has been reached.
func (k *keeping) settle() {
	if k.spec == nil {
		return
	}

	// DRBD tells of the primary role before it lets anybody write: that is done when
	// its command ends.
	promoting := k.current == stepPromote || k.current == stepFirst

	if k.kernel.exists && k.kernel.role == k.spec.Role && !promoting && !unmirrored(k.spec, k.kernel) {
		k.reached, k.epoch = k.spec.Role, k.spec.Epoch
	}

	if k.spec.Role == RoleSecondary {
		k.failedEpoch = 0
	}

	if k.kernel.exists && k.config == "" {
		k.config = k.configOnDisk()
	}

	if !k.kernel.exists {
		k.config = ""
	}
}

// configOnDisk is what the running resource was configured with by an antlerd
// before this one.
func (k *keeping) configOnDisk() string {
	content, err := os.ReadFile(k.Config)
	if err != nil {
		return ""
	}

	return string(content)
}

func (k *keeping) situation() situation {
	s := situation{
		spec: k.spec, kernel: k.kernel, found: k.found,
		broken: k.broken, lost: k.lost, failedEpoch: k.failedEpoch, fencing: k.Handler.Fencing(),
	}

	if k.spec == nil {
		return s
	}

	s.compare = k.comparison.isDue(time.Now()) && !k.drbd.nine()
	s.judge = k.kernel.compared > k.comparison.judged && !k.drbd.nine()

	content, err := k.drbd.renderConfig(*k.spec, k.Timing)
	s.stale = err == nil && k.kernel.exists && content != k.config

	return s
}

func (k *keeping) start(ctx context.Context, chosen step) {
	ctx, k.stop = context.WithCancel(ctx)
	k.current, k.begun = chosen, *k.spec

	if chosen == stepBreak && !k.lost {
		k.breaksOff()
	}

	k.comparison.reading = k.kernel.compared

	spec := *k.spec

	k.logger.Log(chosen.level(), "replica: step", zap.String("step", string(chosen)))
	k.running.Go(func() { k.done <- k.take(ctx, chosen, spec, k.watch.look) })
}
