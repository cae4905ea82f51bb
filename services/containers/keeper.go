package containers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// defaultStopTimeout is for specs that name none.
const defaultStopTimeout = 10 * time.Second

// Calls to the runtime end by these. Making a container takes seconds under
// emulation, and a minute where the processor has more to do; so does finding one, if
// what is left of it has to be deleted. containerd doesn't clean up behind a call that
// is given up, and the next one begins anew: so that isn't done lightly.
const (
	callTimeout = 3 * time.Minute
	// killTimeout is for what comes after an orderly stop's own time.
	killTimeout = 10 * time.Second
)

// keeper looks after one container in a goroutine of its own, so that a slow
// stop of one holds up no other.
type keeper struct {
	name    string
	runtime Runtime
	logPath string
	logger  *zap.Logger
	// changed is called after every change of the status.
	changed func()
	wake    chan struct{}

	mu   sync.Mutex
	want *ContainerSpecSpec
	// last is the latest spec that was wanted; it says how to stop.
	last ContainerSpecSpec
	// told says that somebody has decided what is wanted.
	told   bool
	status ContainerStatusSpec
	// gone: nothing is wanted and nothing is left.
	gone bool

	// Owned by run.
	task  *Task
	known bool
	ended string
	// since is when it last started or was stopped.
	since time.Time
	// spare is the digest of what is kept ready, "" if nothing is.
	spare string
	// leftover: what was stopped is yet to be deleted.
	leftover bool
	// crash paces restarts of a process that ends, retry those of a runtime
	// that fails.
	crash, retry backoff
	// codes waits for those who wait for exit codes.
	codes sync.WaitGroup
}

func newKeeper(name string, runtime Runtime, logPath string, logger *zap.Logger, changed func()) *keeper {
	return &keeper{
		name:    name,
		runtime: runtime,
		logPath: logPath,
		logger:  logger.With(zap.String("container", name)),
		changed: changed,
		wake:    make(chan struct{}, 1),
		status:  ContainerStatusSpec{LogPath: logPath, Unknown: true},
	}
}

// set tells what should run; nil means nothing. It never blocks.
func (k *keeper) set(want *ContainerSpecSpec) {
	k.mu.Lock()
	k.want, k.told = want, true

	if want != nil {
		k.last = *want
	}
	k.mu.Unlock()

	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) wanted() *ContainerSpecSpec {
	k.mu.Lock()
	defer k.mu.Unlock()

	return k.want
}

// report returns the status, and whether the container is gone for good.
func (k *keeper) report() (ContainerStatusSpec, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()

	return k.status, k.gone
}

func (k *keeper) isGone() bool {
	_, gone := k.report()

	return gone
}

func (k *keeper) update(change func(*ContainerStatusSpec)) {
	k.mu.Lock()
	before := k.status
	change(&k.status)
	same := k.status == before
	k.mu.Unlock()

	if !same {
		k.changed()
	}
}

// call is for one to the runtime. It is busy from then on, to the end of the turn.
func (k *keeper) call(ctx context.Context) (context.Context, context.CancelFunc) {
	k.update(func(s *ContainerStatusSpec) { s.Busy = true })

	return context.WithTimeout(ctx, callTimeout)
}

// turned is the end of a turn, whose error is told with it.
func (k *keeper) turned(err error) {
	k.update(func(s *ContainerStatusSpec) {
		s.Busy = false

		if err != nil {
			s.Error = err.Error()
		}
	})
}

// run brings the container to what is wanted, again and again, until nothing
// is wanted and nothing is left, or ctx ends. It leaves a running task alone
// when ctx ends: tasks outlive antlerd.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := k.look(ctx)
		// It may have taken seconds: what is wanted is read afterwards.
		want := k.wanted()

		if err == nil {
			err = k.converge(ctx, want)
		}

		k.turned(err)

		if err != nil {
			k.logger.Warn("container is not as wanted", zap.Error(err))
			k.wait(ctx, k.retry.next())

			continue
		}

		k.retry.reset()

		if want == nil && k.finish() {
			return
		}

		k.wait(ctx, k.untilSpare(want))
	}
}

// finish ends the keeper unless something is wanted again by now.
func (k *keeper) finish() bool {
	k.mu.Lock()
	defer k.mu.Unlock()

	if k.want != nil {
		return false
	}

	k.gone = true

	defer k.changed()

	return true
}

// wait returns when something happened, or after pause if there is one.
func (k *keeper) wait(ctx context.Context, pause time.Duration) {
	var timer <-chan time.Time

	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()

		timer = t.C
	}

	var exited <-chan struct{}
	if k.task != nil {
		exited = k.task.Exited
	}

	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-timer:
	case <-exited:
		k.exited(ctx)
	}
}

// exited records the end of the task, and pauses before it may be restarted.
func (k *keeper) exited(ctx context.Context) {
	// The spec that ended: it runs again only if Restart says so, or when
	// another takes its place.
	k.ended = version(k.task.Digest, k.task.Generation)
	pid, code := k.task.PID, k.task.ExitCode
	k.task = nil

	// The end is told at once, the code when it is known: somebody may wait for
	// nothing but the end.
	k.update(func(s *ContainerStatusSpec) { s.Running, s.PID, s.Adopted = false, 0, false })

	want := k.wanted()
	if want == nil || !want.Restart {
		k.codes.Go(func() { k.exitedWith(pid, <-code) })

		return
	}

	k.exitedWith(pid, <-code)

	if time.Since(k.since) >= backoffForget {
		k.crash.reset()
	}

	k.update(func(s *ContainerStatusSpec) {
		s.Error = fmt.Sprintf("process ended with code %d and is started again: see %s", s.ExitCode, k.logPath)
	})
	k.wait(ctx, k.crash.next())
}

func (k *keeper) exitedWith(pid, code int) {
	k.logger.Info("process ended", zap.Int("pid", pid), zap.Int("code", code))
	k.update(func(s *ContainerStatusSpec) { s.ExitCode = code })
}

func version(digest string, generation uint64) string {
	return fmt.Sprintf("%s/%d", digest, generation)
}

// converge takes every step that is due now.
func (k *keeper) converge(ctx context.Context, want *ContainerSpecSpec) error {
	if want == nil {
		return errors.Join(k.remove(ctx), k.delete(ctx), k.removeSpare(ctx))
	}

	if k.task != nil {
		if !want.Stopped && !stale(k.task, want) {
			k.update(func(s *ContainerStatusSpec) { s.Error = "" })

			return k.prepare(ctx, *want)
		}

		err := k.remove(ctx)
		if err == nil && !want.Spare {
			err = k.delete(ctx)
		}

		if err != nil {
			return err
		}
	}

	k.update(func(s *ContainerStatusSpec) {
		s.Standby, s.StandbyGeneration = want.Stopped, 0

		if want.Stopped {
			s.StandbyGeneration = want.Generation
		}
	})

	if want.Stopped {
		err := k.prepare(ctx, *want)
		if err == nil {
			k.update(func(s *ContainerStatusSpec) { s.Error = "" })
		}

		return err
	}

	if !want.Restart && k.ended == version(Digest(*want), want.Generation) {
		return nil
	}

	return k.start(ctx, *want)
}

// stale says that a running task has to make way for what is wanted.
func stale(task *Task, want *ContainerSpecSpec) bool {
	if task.Generation != want.Generation {
		return true
	}

	return want.RestartOnChange && task.Digest != Digest(*want)
}

func (k *keeper) start(ctx context.Context, want ContainerSpecSpec) error {
	ctx, cancel := k.call(ctx)
	defer cancel()

	again := k.ended != ""
	k.spare = ""

	task, err := k.runtime.Start(ctx, k.name, want)
	if err != nil {
		// It may have been started all the same: look before the next try.
		k.known = false

		return fmt.Errorf("start container %q: %w", k.name, err)
	}

	if again {
		k.update(func(s *ContainerStatusSpec) { s.Restarts++ })
	}

	k.logger.Info("started", zap.Int("pid", task.PID))
	k.running(task, false)

	return nil
}

func (k *keeper) running(task *Task, adopted bool) {
	// Another took the place of what was left.
	k.task, k.since, k.ended, k.leftover = task, time.Now(), "", false
	k.update(func(s *ContainerStatusSpec) {
		s.Running, s.PID, s.Adopted, s.Unknown, s.Error = true, task.PID, adopted, false, ""
		s.Digest, s.Generation = task.Digest, task.Generation
	})
}

// remove ends the container in the way of the last spec that was wanted. What is
// left of it has to be deleted, which takes longer and which nobody waits for.
func (k *keeper) remove(ctx context.Context) error {
	k.mu.Lock()
	signal, timeout := stopping(k.last)
	k.mu.Unlock()

	if k.task == nil {
		signal, timeout = syscall.SIGKILL, 0
	}

	// SIGKILL and the deletion get their time on top.
	ctx, cancel := context.WithTimeout(ctx, timeout+killTimeout)
	defer cancel()

	err := k.runtime.Stop(ctx, k.name, signal, timeout)
	if err != nil {
		return fmt.Errorf("stop container %q: %w", k.name, err)
	}

	if k.task != nil {
		k.logger.Info("stopped", zap.Int("pid", k.task.PID))
	}

	k.update(func(s *ContainerStatusSpec) {
		s.Running, s.PID, s.Adopted, s.Error = false, 0, false, ""
	})

	k.task, k.since, k.leftover = nil, time.Now(), true

	return nil
}

func stopping(want ContainerSpecSpec) (syscall.Signal, time.Duration) {
	signal, timeout := syscall.SIGTERM, defaultStopTimeout

	if want.StopSignal != 0 {
		signal = syscall.Signal(want.StopSignal)
	}

	if want.StopTimeout != 0 {
		timeout = time.Duration(want.StopTimeout) * time.Second
	}

	return signal, timeout
}
