package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"antler/services/node/config"
)

// supervise asks the master, and restarts it when it has ended or doesn't
// answer.
func (m *master) supervise(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	current := m.running.Generation == m.generation

	switch {
	case m.running.Running && current:
		return m.ask(ctx, spec)
	case current && m.status.Phase != PhaseRecovering && m.status.Phase != PhaseRestarting:
		m.emit("master-stopped", "mfsmaster ended: `antlerctl logs mfsmaster -n %s`", m.config.Node.Name)
		m.stumbled = m.status.Phase == PhaseStarting

		return m.restart(ctx, "mfsmaster ended")
	case current && m.ended():
		m.stumbled = true

		return m.restart(ctx, "mfsmaster ended while starting")
	case m.running.Busy && m.Now().Sub(m.started) > m.Timing.ContainerDeadline:
		return m.abandon(ctx, m.unmade())
	case !m.running.Busy && m.Now().Sub(m.started) > m.Timing.StartDeadline:
		return m.restart(ctx, "mfsmaster's container did not start: "+m.running.Error)
	}

	// The container's status wakes us.
	return time.Second, nil
}

const (
	// LeastFree is what must be free for the changelog to go on while somebody makes
	// room: some hours' worth, in bytes.
	LeastFree = 8 << 20
	// LowFree is when somebody should, in bytes: mfsmaster writes its metadata anew each
	// hour beside what it keeps.
	LowFree = 8 * LeastFree
	// freeStep is what the free room is told in steps of.
	freeStep = 1 << 20
)

// examine looks whether the replica's file system can hold what mfsmaster is about to
// write; it doesn't look itself. wait is set where it can't.
func (m *master) examine(ctx context.Context) (wait time.Duration, err error) {
	free, err := m.Disk.Healthy()
	if err != nil {
		_, err = m.abandon(ctx, err)

		return m.Timing.ProbeInterval, err
	}

	m.status.ReplicaFree = free / freeStep * freeStep

	if free < LeastFree {
		return m.waitForRoom(ctx)
	}

	if m.status.Phase == PhaseFull {
		m.status.Phase, m.status.Error = PhaseStopped, ""
	}

	return 0, nil
}

// waitForRoom without a master, which would acknowledge what it can't write down.
func (m *master) waitForRoom(ctx context.Context) (time.Duration, error) {
	if m.status.Phase != PhaseFull {
		err := errors.Join(m.kill(ctx), m.unwant(ctx))
		if err != nil {
			return 0, err
		}

		m.status.Phase, m.status.Answering = PhaseFull, false
		m.emit("full", "the replica's file system is full: mfsmaster is stopped")
	}

	m.status.Error = fmt.Sprintf("the replica's file system is full (%d MiB are left): remove what doesn't belong below %s; service goes on by itself with %d MiB",
		m.status.ReplicaFree>>20, config.MetadataPath, LeastFree>>20)

	return m.Timing.ProbeInterval, m.makeRoom()
}

// makeRoom removes what mfsmaster left and doesn't need, once none runs.
func (m *master) makeRoom() error {
	over, err := m.over()
	if err != nil || !over || m.frozen {
		return err
	}

	what, err := m.Disk.MakeRoom()
	if what != "" {
		m.emit("room-made", "%s was removed: the replica's file system is full", what)
	}

	return err
}

// ended reports whether the container of this generation has run and is over.
func (m *master) ended() bool { return !m.running.Running && m.running.Digest != "" }

// ask the master something over its own protocol.
func (m *master) ask(ctx context.Context, spec *MasterSpecSpec) (time.Duration, error) {
	if m.announced != m.running.PID && m.status.Phase != PhaseServing {
		// Its container may have taken long.
		m.announced, m.started = m.running.PID, m.Now()
		m.emit("master-started", "mfsmaster runs (process %d)", m.running.PID)
	}

	// A restart in place stays one until the master answers: the address stays
	// here meanwhile.
	if m.status.Phase != PhaseServing && !m.begins() {
		err := m.enter(ctx, PhaseStarting)
		if err != nil {
			return 0, err
		}
	}

	info, err := m.probe(ctx)
	if err != nil {
		return m.unanswered(ctx, err)
	}

	if info.MetaVersion < spec.MinMetaVersion {
		return m.abandon(ctx, fmt.Errorf("mfsmaster loaded version %d, the cluster has served version %d: it would destroy newer data: `antlerctl metadata sources` shows what other places hold", info.MetaVersion, spec.MinMetaVersion))
	}

	if m.status.Phase != PhaseServing {
		m.answeredAt = m.Now()
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

	if m.holding {
		return m.admit(spec), nil
	}

	return m.Timing.ProbeInterval, nil
}

// admit lets clients' requests in once enough chunkservers are connected. Before that
// MooseFS would make a new chunk with one copy, acknowledge what is written to it, and
// think of the second copy a minute later.
func (m *master) admit(spec *MasterSpecSpec) time.Duration {
	have, want := m.status.Chunkservers, spec.Chunkservers
	if have < want && m.Now().Sub(m.answeredAt) < m.Timing.ChunkserverWait {
		return holdingProbe
	}

	err := m.Door.Open()
	if err != nil {
		if !m.stuck {
			m.logger.Warn("clients may be kept out", zap.Error(err))
		}

		m.stuck = true

		return m.Timing.ProbeInterval
	}

	m.holding = false
	m.emit("clients-admitted", "%d chunkservers are connected, %d were waited for: clients' requests are let in", have, want)

	return m.Timing.ProbeInterval
}

// probe asks a master that starts in a way that costs it little, and hears of its first
// answer at once: clients wait for that.
func (m *master) probe(ctx context.Context) (Info, error) {
	prober, wait := m.Prober, m.Timing.ProbeTimeout
	if m.begins() {
		prober, wait = whenListening{m.Prober}, startingWait
	}

	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()

	return m.patient.probe(ctx, prober, m.running.PID)
}

// begins reports whether the master runs and has yet to answer for the first time.
func (m *master) begins() bool {
	return m.status.Phase == PhaseStarting || m.status.Phase == PhaseRestarting
}

// unanswered counts: a master that has answered before has ProbesFailed tries.
func (m *master) unanswered(ctx context.Context, err error) (time.Duration, error) {
	if m.frozen {
		m.status.Answering, m.failures, m.started = false, 0, m.Now()

		return startingProbe, nil
	}

	if m.begins() {
		return m.starting(ctx)
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

// starting is a master that hasn't answered yet. It has StartDeadline, and
// LoadDeadline as long as it is at work: the metadata of many files takes its time to
// load, and a restart would only begin anew.
func (m *master) starting(ctx context.Context) (time.Duration, error) {
	now := m.Now()
	waited := now.Sub(m.started)

	switch {
	case waited < m.Timing.StartDeadline:
		return startingProbe, nil
	case !m.atWork(now):
		return m.restart(ctx, fmt.Sprintf("mfsmaster did not answer within %s of its start", m.Timing.StartDeadline))
	case waited < m.Timing.LoadDeadline:
		return startingProbe, nil
	}

	return m.abandon(ctx, fmt.Errorf("mfsmaster has been at work for %s since its start, and answers nothing: see `antlerctl logs mfsmaster`", m.Timing.LoadDeadline))
}

// abandon the start: this node can't serve, another may.
func (m *master) abandon(ctx context.Context, err error) (time.Duration, error) {
	m.fail(err)

	return 0, errors.Join(m.kill(ctx), m.unwant(ctx))
}

// atWork looks now and then whether the master has done anything since it was
// looked at before.
func (m *master) atWork(now time.Time) bool {
	if now.Sub(m.lookedAt) < loadingLook {
		return true
	}

	before, first := m.activity, m.lookedAt.Before(m.started)
	m.activity, m.lookedAt = m.Activity(m.running.PID), now

	if first {
		m.emit("master-loading", "mfsmaster still loads its metadata, %s after its start", now.Sub(m.started).Round(time.Second))

		return true
	}

	return m.activity.WorkedSince(before)
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
