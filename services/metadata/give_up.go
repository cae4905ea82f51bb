package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"

	"antler/services/containers"
)

// giveUp does the next step towards a stopped master and an unmounted file
// system. It always ends: a clean stop has its time, then comes SIGKILL.
func (m *master) giveUp(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	m.status.Answering, m.status.Formatted = false, false

	if m.running.Running || m.wanted {
		return m.stop(ctx, spec.Stop)
	}

	if !m.status.Mounted {
		m.stopped()

		return 0, m.standBy(ctx)
	}

	unmount, cancel := context.WithTimeout(ctx, m.Timing.MountDeadline)
	defer cancel()

	err := m.Disk.Unmount(unmount)
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

// stop asks for the end of the container and waits for it.
func (m *master) stop(ctx context.Context, mode StopMode) (time.Duration, error) {
	// In the middle of a clean stop the lease may be lost.
	if mode == StopKill && m.running.Running {
		err := m.kill(ctx)
		if err != nil {
			return 0, err
		}
	}

	if m.status.Phase != PhaseStopping && m.status.Phase != PhaseFailed {
		err := m.enter(ctx, PhaseStopping)
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

	if m.running.Running {
		return time.Second, nil
	}

	if mode == StopKill {
		m.emit("master-killed", "mfsmaster is stopped")
	} else {
		m.emit("master-stopped", "mfsmaster saved its metadata and ended")
	}

	return time.Millisecond, nil
}

// unwant takes the wish for a running container back: its process is stopped.
func (m *master) unwant(ctx context.Context) error {
	m.wanted = false

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
