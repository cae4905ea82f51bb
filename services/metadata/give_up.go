package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/containers"
	"antler/services/node/config"
)

// giveUp does the next step towards a stopped master and an unmounted file
// system. It always ends: a clean stop has its time, then comes SIGKILL.
func (m *master) giveUp(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	m.status.Answering, m.status.Formatted = false, false

	runs, err := m.runs()
	if err != nil {
		return 0, err
	}

	if runs || m.wanted {
		m.ending = true

		return m.stop(ctx, spec.Stop)
	}

	if m.ending {
		m.ending = false
		m.emit("master-stopped", "mfsmaster has ended")
	}

	if !m.status.Mounted {
		m.stopped()

		return 0, m.standBy(ctx)
	}

	// The quorum may choose the next holder meanwhile.
	if m.status.Phase != PhaseFailed {
		err := m.enter(ctx, PhaseUnmounting)
		if err != nil {
			return 0, err
		}
	}

	unmount, cancel := context.WithTimeout(ctx, m.Timing.MountDeadline)
	defer cancel()

	err = m.Disk.Unmount(unmount)
	if err != nil {
		return 0, fmt.Errorf("give up: %w", err)
	}

	m.status.Mounted = false
	m.emit("unmounted", "the replica's file system is unmounted")
	m.stopped()

	return 0, m.standBy(ctx)
}

func (m *master) stopped() {
	// What has failed in this epoch stays failed until the next.
	if m.status.Phase != PhaseFailed {
		m.status.Phase, m.status.Error = PhaseStopped, ""
	}
}

// stop ends the container and waits for it. In a switchover the metadata is saved
// while the master still serves, so that the next one has little to replay, and
// no request is left half done: first none comes in any more, then the address
// goes, and then the master. A client whose connection is closed
// tries again at once and then only every two seconds; one that hears nothing
// sends its request again to who answers next.
func (m *master) stop(ctx context.Context, mode StopMode) (time.Duration, error) {
	if mode == StopClean && m.running.Running && m.status.Phase == PhaseServing {
		err := m.save(ctx)
		if err != nil {
			return 0, err
		}

		pause(ctx, m.Timing.SettleTime)
		m.drain(ctx)
	}

	if m.status.Phase != PhaseStopping && m.status.Phase != PhaseFailed {
		m.stoppingSince = m.Now()

		err := m.enter(ctx, PhaseStopping)
		if err != nil {
			return 0, err
		}
	}

	if mode == StopClean && m.running.Running && m.Reachable() && m.Now().Sub(m.stoppingSince) < reachablePatience {
		return reachablePoll, nil
	}

	if m.running.Running && m.running.PID != m.killed && (mode == StopKill || m.flushes()) {
		err := m.kill(ctx)
		if err != nil {
			return 0, err
		}
	}

	if m.wanted {
		err := m.unwant(ctx)
		if err != nil {
			return 0, err
		}
	}

	runs, err := m.runs()
	if err != nil {
		return 0, err
	}

	switch {
	case !runs:
		return time.Millisecond, nil
	case m.killed == m.running.PID:
		return killPoll, nil
	}

	// The container's status wakes us.
	return time.Second, nil
}

// runs reports whether mfsmaster runs. Of one that was sent SIGKILL the kernel knows
// the end before the container's status does, and clients wait for what comes next.
func (m *master) runs() (bool, error) {
	if !m.running.Running || m.running.PID != m.killed {
		return m.running.Running, nil
	}

	alive, err := m.Killer.Alive(Container)
	if err != nil {
		return true, fmt.Errorf("look whether mfsmaster is gone: %w", err)
	}

	return alive, nil
}

// The address is gone a moment after this node said that it stops.
const (
	reachablePatience = time.Second
	reachablePoll     = 10 * time.Millisecond
)

// save has the master save its metadata before it stops, so that the next one
// has next to nothing to replay. It serves on meanwhile, and if it can't save,
// the changelog holds everything.
func (m *master) save(ctx context.Context) error {
	err := m.enter(ctx, PhaseSaving)
	if err != nil {
		return err
	}

	m.emit("saving", "mfsmaster saves its metadata")

	save, cancel := context.WithTimeout(ctx, m.Timing.StopDeadline)
	defer cancel()

	err = m.Prober.Save(save)
	if err != nil {
		m.logger.Warn("the metadata was not saved before the switchover", zap.Error(err))

		return nil
	}

	m.emit("saved", "mfsmaster saved its metadata")

	return nil
}

// drain lets what was asked be answered, and nothing more be asked.
func (m *master) drain(ctx context.Context) {
	err := m.Door.Close()
	if err != nil {
		m.logger.Warn("requests may be left without an answer", zap.Error(err))
	}

	pause(ctx, m.Timing.DrainTime)
}

func pause(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()

	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// flushes reports whether everything acknowledged is in the changelog on both
// replicas. Then SIGKILL is as good as an orderly end, which takes mfsmaster
// some seconds more.
func (m *master) flushes() bool {
	return m.config.Cluster.Storage.Durability != config.DurabilityLoseSecondsOnPowerCut
}

// unwant takes the wish for a running container back: its process is stopped. The
// container's status names the generation when that is done.
func (m *master) unwant(ctx context.Context) error {
	m.wanted = false
	m.generation++

	return m.writeSpec(ctx, true)
}

// standBy has a container made that waits to be started.
func (m *master) standBy(ctx context.Context) error { return m.writeSpec(ctx, true) }

// writeSpec says what the container should be.
func (m *master) writeSpec(ctx context.Context, stopped bool) error {
	spec := masterSpec(m.config, m.generation)
	spec.Stopped = stopped

	err := safe.WriterModify(ctx, m.runtime, containers.NewContainerSpec(Container), func(res *containers.ContainerSpec) error {
		*res.TypedSpec() = spec

		return nil
	})
	if err != nil {
		return fmt.Errorf("ask for mfsmaster's container: %w", err)
	}

	return nil
}
