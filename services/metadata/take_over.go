package metadata

import (
	"context"
	"errors"
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

	stored, err := m.Disk.Stored()
	if err != nil {
		return 0, err
	}

	err = mayStart(stored, *spec)
	if err != nil {
		m.fail(err)

		return 0, nil
	}

	m.generation = max(m.generation, m.running.Generation) + 1

	// A restart in place stays one until the master answers: see ask.
	if m.status.Phase != PhaseRestarting {
		err = m.enter(ctx, PhaseRecovering)
		if err != nil {
			return 0, err
		}
	}

	return startingProbe, m.want(ctx)
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
// would have to wait for.
func (m *master) waitForEnd(ctx context.Context) (time.Duration, error) {
	switch {
	case m.frozen:
		m.endingSince = time.Time{}

		return startingProbe, nil
	case m.endingSince.IsZero():
		m.endingSince = m.Now()

		return killPoll, nil
	case m.Now().Sub(m.endingSince) < m.Timing.StartDeadline:
		return killPoll, nil
	}

	m.endingSince = time.Time{}

	return m.restart(ctx, fmt.Sprintf("the last mfsmaster has not ended within %s", m.Timing.StartDeadline))
}

// adopt takes over a master that ran before antlerd did.
func (m *master) adopt(ctx context.Context) (time.Duration, error) {
	m.generation = m.running.Generation

	return startingProbe, m.want(ctx)
}

// want asks for the container to run.
func (m *master) want(ctx context.Context) error {
	err := m.writeSpec(ctx, false)
	if err != nil {
		return err
	}

	m.wanted, m.started, m.failures = true, m.Now(), 0

	err = m.Door.Open()
	if err != nil {
		m.logger.Warn("clients may wait longer than they must", zap.Error(err))
	}

	return nil
}

// supervise asks the master, and restarts it when it has ended or doesn't
// answer.
func (m *master) supervise(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	err := m.Disk.Healthy()
	if err != nil {
		m.fail(err)

		return 0, errors.Join(m.kill(ctx), m.unwant(ctx))
	}

	current := m.running.Generation == m.generation

	switch {
	case m.running.Running && current:
		return m.ask(ctx, spec)
	case current && m.status.Phase != PhaseRecovering && m.status.Phase != PhaseRestarting:
		m.emit("master-stopped", "mfsmaster ended: `antlerctl logs mfsmaster -n %s`", m.config.Node.Name)

		return m.restart(ctx, "mfsmaster ended")
	case current && m.ended():
		return m.restart(ctx, "mfsmaster ended while starting")
	case m.Now().Sub(m.started) > m.Timing.StartDeadline:
		return m.restart(ctx, "mfsmaster's container did not start: "+m.running.Error)
	}

	// The container's status wakes us.
	return time.Second, nil
}

// ended reports whether the container of this generation has run and is over.
func (m *master) ended() bool { return !m.running.Running && m.running.Digest != "" }

// ask the master something over its own protocol.
func (m *master) ask(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	if m.announced != m.running.PID && m.status.Phase != PhaseServing {
		m.announced = m.running.PID
		m.emit("master-started", "mfsmaster runs (process %d)", m.running.PID)
	}

	// A restart in place stays one until the master answers: the address stays
	// here meanwhile.
	if m.status.Phase != PhaseServing && m.status.Phase != PhaseStarting && m.status.Phase != PhaseRestarting {
		err := m.enter(ctx, PhaseStarting)
		if err != nil {
			return 0, err
		}
	}

	probe, cancel := context.WithTimeout(ctx, m.Timing.ProbeTimeout)
	defer cancel()

	info, err := m.Prober.Probe(probe)
	if err != nil {
		return m.unanswered(ctx, err)
	}

	if info.MetaVersion < spec.MinMetaVersion {
		m.fail(fmt.Errorf("mfsmaster loaded version %d, the cluster has served version %d: it would destroy newer data: `antlerctl metadata sources` shows what other places hold", info.MetaVersion, spec.MinMetaVersion))

		return 0, errors.Join(m.kill(ctx), m.unwant(ctx))
	}

	if m.status.Phase != PhaseServing {
		m.emit("master-answering", "mfsmaster %s answers, metadata version %d", info.Version, info.MetaVersion)
	}

	if m.failures > 0 {
		m.logger.Info("mfsmaster answers again", zap.String("since", m.Activity(m.running.PID).Since(m.silent)))
	}

	m.failures = 0
	m.status.Phase, m.status.Answering, m.status.Error = PhaseServing, true, ""
	m.status.Version, m.status.MetaVersion, m.status.MetadataID = info.Version, info.MetaVersion, info.MetadataID
	m.status.TotalSpace, m.status.FreeSpace, m.status.Chunks = info.TotalSpace, info.FreeSpace, info.Chunks
	m.status.Chunkservers = info.Chunkservers

	return m.Timing.ProbeInterval, nil
}

// unanswered counts; a master that starts has StartDeadline, one that has
// answered before ProbesFailed tries.
func (m *master) unanswered(ctx context.Context, err error) (time.Duration, error) {
	if m.frozen {
		m.status.Answering, m.failures, m.started = false, 0, m.Now()

		return startingProbe, nil
	}

	if m.status.Phase == PhaseStarting || m.status.Phase == PhaseRestarting {
		if m.Now().Sub(m.started) < m.Timing.StartDeadline {
			return startingProbe, nil
		}

		return m.restart(ctx, fmt.Sprintf("mfsmaster did not answer within %s of its start", m.Timing.StartDeadline))
	}

	m.failures++
	m.status.Answering = false

	before := m.activity
	m.activity = m.Activity(m.running.PID)

	if m.failures == 1 {
		m.silentSince, m.silent = m.Now(), m.activity
		m.emit("master-silent", "mfsmaster doesn't answer: %v", err)
	}

	switch {
	case m.failures < m.Timing.ProbesFailed:
		return startingProbe, nil
	case !m.activity.StuckSince(before) && m.Now().Sub(m.silentSince) < slowPatience:
		return startingProbe, nil
	}

	why := fmt.Sprintf("mfsmaster did not answer %d times in a row: %s", m.failures, m.activity.Since(m.silent))

	wait, err := m.restart(ctx, "mfsmaster runs and doesn't answer")
	if err == nil {
		m.emit("master-killed", "%s", why)
	}

	return wait, err
}

// restart in place, as often as MaxRestarts.
func (m *master) restart(ctx context.Context, why string) (time.Duration, error) {
	err := m.kill(ctx)
	if err != nil {
		return 0, err
	}

	m.status.Answering = false

	if m.status.Restarts >= MaxRestarts {
		m.fail(fmt.Errorf("%s, after %d restarts: see `antlerctl logs mfsmaster`", why, m.status.Restarts))

		return 0, m.unwant(ctx)
	}

	m.status.Restarts++
	m.status.Error = why

	err = m.enter(ctx, PhaseRestarting)
	if err != nil {
		return 0, err
	}

	// It is started when its end is certain: see start.
	return killPoll, m.unwant(ctx)
}
