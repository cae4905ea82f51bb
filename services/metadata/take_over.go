package metadata

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"antler/services/metadata/files"
)

// takeOver does the next step towards a serving master.
func (m *master) takeOver(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	if m.status.Epoch != spec.Epoch {
		m.status.Epoch, m.status.Restarts, m.status.Error = spec.Epoch, 0, ""
		m.status.Formatted = false

		if m.status.Phase == PhaseFailed {
			m.status.Phase = PhaseStopped
		}
	}

	if m.status.Phase == PhaseFailed {
		return 0, nil
	}

	if !m.status.Mounted {
		err := m.mount(ctx, spec)
		if err != nil {
			m.fail(err)

			return 0, nil
		}
	}

	if spec.Format {
		return 0, m.format(ctx, spec)
	}

	m.status.Formatted = false

	if wait, err := m.examine(ctx); wait > 0 || err != nil {
		return wait, err
	}

	if !m.wanted {
		return m.start(ctx, spec)
	}

	return m.supervise(ctx, spec)
}

// mount checks and mounts the file system, after making it where the quorum has
// consented and there is none.
func (m *master) mount(ctx context.Context, spec *MasterSpecSpec) error {
	there, err := m.Disk.HasFileSystem(spec.Device)
	if err != nil {
		return err
	}

	if !there && !spec.Format {
		return fmt.Errorf("%s holds no file system, though the cluster has been serving from one: its content is lost here", spec.Device)
	}

	if !there {
		err = m.enter(ctx, PhaseFormatting)
		if err != nil {
			return err
		}

		err = m.Disk.Format(ctx, spec.Device)
		if err != nil {
			return err
		}
	}

	err = m.enter(ctx, PhaseMounting)
	if err != nil {
		return err
	}

	err = m.Disk.Mount(ctx, spec.Device)
	if err != nil {
		return err
	}

	m.status.Mounted, m.mountedHere = true, true
	m.emit("mounted", "%s is checked and mounted", spec.Device)

	return nil
}

// format finishes the first metadata and waits for the quorum to record it:
// nothing is served before that.
func (m *master) format(ctx context.Context, spec *MasterSpecSpec) error {
	if !m.status.Formatted {
		made, err := m.firstContent(spec)

		switch {
		case err != nil && spec.MinMetaVersion > 0:
			// It has no copy: another node may.
			m.fail(err)

			return nil
		case err != nil:
			return err
		}

		m.emit("formatted", "%s", made)
	}

	m.status.Formatted = true

	return m.enter(ctx, PhaseFormatting)
}

// firstContent is the empty metadata of a new cluster, or what a person restores:
// only then has anything been served before.
func (m *master) firstContent(spec *MasterSpecSpec) (made string, err error) {
	if spec.MinMetaVersion == 0 {
		return "file system and empty metadata are made", m.Disk.Prepare(true)
	}

	made = fmt.Sprintf("metadata version %d is restored", spec.MinMetaVersion)

	return made, m.Disk.Install(files.Stored{Version: spec.MinMetaVersion, ID: spec.MetadataID})
}

// start looks at what would be loaded, and starts mfsmaster if that is at least
// what the quorum knows to have been served. It does so after a takeover and for a
// restart in place alike: what ran before may have been killed in either case.
func (m *master) start(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	if m.running.Running && m.generation == 0 && m.running.PID != m.killed {
		return m.adopt(ctx)
	}

	// After antlerd's start: a master that runs must not be interrupted by another.
	// When a node boots nothing can run on what was mounted here, and containerd is
	// not waited for.
	if !m.mountedHere && (!m.inventory.Complete || m.running.Unknown) {
		return 0, nil
	}

	over, err := m.over()
	if err != nil {
		return 0, err
	}

	if !over || m.frozen {
		return m.waitForEnd(ctx)
	}

	m.endingSince = time.Time{}

	err = m.Disk.Prepare(false)
	if err != nil {
		return 0, err
	}

	if m.stumbled {
		err = m.mend()
		if err != nil {
			return 0, err
		}
	}

	stored, err := m.Disk.Stored()
	if err != nil {
		return 0, err
	}

	err = mayStart(stored, *spec)
	if err != nil {
		m.fail(err)

		return 0, nil
	}

	// By a clock that is behind, what was written since would be locked until it isn't.
	last, err := m.Disk.LastTime()
	if err != nil {
		return 0, err
	}

	m.Heard("the last change of the metadata", last)

	m.generation = max(m.generation, m.running.Generation) + 1

	// A restart in place stays one until the master answers: see ask.
	if m.status.Phase != PhaseRestarting {
		err = m.enter(ctx, PhaseRecovering)
		if err != nil {
			return 0, err
		}
	}

	// The door may still be closed from a switchover, so that it is opened later in any
	// case.
	m.holding, m.stuck = true, false

	err = m.Door.Hold()
	if err != nil {
		m.logger.Warn("for a moment clients may write to one chunkserver only, or none", zap.Error(err))
	}

	return startingProbe, m.want(ctx)
}

// mend what the last start may have stumbled over.
func (m *master) mend() error {
	what, err := m.Disk.Mend()
	if err != nil {
		return fmt.Errorf("mend the metadata: %w", err)
	}

	m.stumbled = false

	if what != "" {
		m.emit("mended", "%s", what)
	}

	return nil
}

// over reports whether no mfsmaster runs, and none is about to: preparing its
// directory beneath a live one would tear what that writes.
func (m *master) over() (bool, error) {
	asked := m.generation > 0
	if m.running.Running || asked && (!m.running.Standby || m.running.StandbyGeneration != m.generation) {
		return false, nil
	}

	alive, err := m.Killer.Alive(Container)
	if err != nil {
		return false, fmt.Errorf("look whether mfsmaster is gone: %w", err)
	}

	return !alive, nil
}

// waitForEnd of what ran before, and for the replica, which what is to be cut off
// would have to wait for. A container that is being made must not be ended either:
// that would begin anew, and take as long.
func (m *master) waitForEnd(ctx context.Context) (time.Duration, error) {
	switch {
	case m.frozen:
		m.endingSince = time.Time{}

		return startingProbe, nil
	case m.endingSince.IsZero():
		m.endingSince = m.Now()

		return killPoll, nil
	}

	waited := m.Now().Sub(m.endingSince)

	switch {
	case waited < m.Timing.StartDeadline:
		return killPoll, nil
	case m.running.Busy && waited < m.Timing.ContainerDeadline:
		return startingProbe, nil
	}

	m.endingSince = time.Time{}

	if m.running.Busy {
		return m.abandon(ctx, m.unmade())
	}

	return m.restart(ctx, fmt.Sprintf("the last mfsmaster has not ended within %s", m.Timing.StartDeadline))
}

// unmade is why the start is abandoned where containerd answers nothing.
func (m *master) unmade() error {
	return fmt.Errorf("containerd has not made mfsmaster's container within %s: containerd's own log on this node says why", m.Timing.ContainerDeadline)
}

// adopt takes over a master that ran before antlerd did.
func (m *master) adopt(ctx context.Context) (time.Duration, error) {
	m.generation, m.holding = m.running.Generation, false

	err := m.Door.Open()
	if err != nil {
		m.logger.Warn("clients may wait longer than they must", zap.Error(err))
	}

	return startingProbe, m.want(ctx)
}

// want asks for the container to run.
func (m *master) want(ctx context.Context) error {
	err := m.writeSpec(ctx, false)
	if err != nil {
		return err
	}

	m.wanted, m.started, m.failures = true, m.Now(), 0

	return nil
}
