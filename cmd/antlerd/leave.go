package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"antler/services/metadata"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/replication"
	"antler/services/resources"
)

// leave is an orderly end of this run of antlerd. If the machine goes down as
// well this node hands over what it serves; if not, what serves goes on without
// antlerd, and the quorum is asked to wait for its next run.
func (d *antlerd) leave(ctx context.Context) {
	d.events.Emit("node.stopping", 0, "antlerd was told to stop")

	if node.GoesDown(config.RunDir) {
		d.handOver(ctx)

		return
	}

	if !d.authority.LeaseValid() {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, d.timing.ApplyTimeout)
	defer cancel()

	err := d.authority.Hold(ctx, d.timing.RestartHold)
	if err != nil {
		d.logger.Warn("ask the quorum to wait for antlerd's restart", zap.Error(err))
	}
}

// handOver gives up what this node serves, in order, and tells the quorum. With
// or without somebody to take over: the machine goes down in any case, and a
// file system that is still mounted on a frozen replica would keep it from that.
func (d *antlerd) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.timing.SwitchoverDeadline)
	defer cancel()

	d.authority.Leave()

	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()

	// The quorum may be gone as well: once nothing is served here it gets only
	// as long as it needs to answer.
	told := time.Time{}

	for {
		serves, err := d.serves(ctx)
		if err != nil {
			d.logger.Warn("this machine goes down without handing over", zap.Error(err))

			return
		}

		if !serves && told.IsZero() {
			told = time.Now().Add(d.timing.ApplyTimeout)
		}

		status, _ := d.authority.Status()
		if !serves && (!status.IsHolder || time.Now().After(told)) {
			return
		}

		select {
		case <-ctx.Done():
			d.logger.Warn("this machine goes down without having handed over in time")

			return
		case <-ticker.C:
		}
	}
}

// serves reports whether anything of the serving role is on this node.
func (d *antlerd) serves(ctx context.Context) (bool, error) {
	master, err := resources.Spec[*metadata.MasterStatus](ctx, d.state, metadata.MasterStatusID)
	if err != nil || master != nil && master.Mounted {
		return true, err
	}

	replica, err := resources.Spec[*replication.ReplicaStatus](ctx, d.state, replication.ReplicaStatusID)
	if err != nil {
		return true, err
	}

	return replica != nil && replica.Role == replication.RolePrimary, nil
}

// stopTime is what each process gets to end in order when the machine goes down.
// systemd waits longer: antlerd.service.
const (
	stopTime    = 5 * time.Second
	stopAllTime = 20 * time.Second
)

// standDown is the last that this run of antlerd does. On a machine that goes
// down nothing outlives it. Where nothing is served the watchdog has nothing to
// guard against, and must not turn a slow shutdown into a reset; elsewhere it
// stays armed, and resets a node to which antlerd doesn't come back. So it does where
// the quorum was given the word for that, until no mount is left.
func (d *antlerd) standDown(ctx context.Context) {
	_, guarded := d.authority.GuardedUntil()
	if !guarded {
		d.disarm(ctx)
	}

	if node.GoesDown(config.RunDir) {
		ctx, cancel := context.WithTimeout(ctx, stopAllTime)
		defer cancel()

		stopped := d.stopAll(ctx)
		if stopped || !guarded {
			d.disarm(ctx)
		}
	}
}

func (d *antlerd) disarm(ctx context.Context) {
	serves, err := d.serves(ctx)
	if err == nil && !serves && d.watchdog != nil {
		err = d.watchdog.Disarm()
	}

	if err != nil {
		d.logger.Warn("the watchdog stays armed", zap.Error(err))
	}
}

// stopAll ends every container. Above all the mounts: without a master in reach
// nobody could unmount them, and the machine would wait for that.
func (d *antlerd) stopAll(ctx context.Context) (stopped bool) {
	begun := time.Now()
	names, err := d.tasks.Names(ctx)

	running := atomic.Bool{}
	running.Store(err != nil)

	if err != nil {
		d.logger.Warn("the machine goes down with containers running", zap.Error(err))
	}

	var group sync.WaitGroup

	for _, name := range names {
		group.Go(func() {
			err := errors.Join(
				d.tasks.Stop(ctx, name, syscall.SIGTERM, stopTime),
				d.tasks.Delete(ctx, name),
				// It waits for a line on a pipe, and would keep the machine waiting.
				d.tasks.RemoveSpare(ctx, name),
			)
			if err != nil {
				running.Store(true)
				d.logger.Warn("the machine goes down with a container running", zap.String("container", name), zap.Error(err))
			}
		})
	}

	group.Wait()
	d.logger.Info("ended the containers", zap.Strings("containers", names), zap.Duration("took", time.Since(begun)))

	return !running.Load()
}
