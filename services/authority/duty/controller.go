package duty

import (
	"context"
	"errors"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/replication"
	"antler/services/resources"
)

// Quorum takes what the holder says.
type Quorum interface {
	Formatted(ctx context.Context) error
	MarkUpToDate(ctx context.Context, peer string, look func(context.Context) (bool, error)) error
	RecordVersion(ctx context.Context, metaVersion, metadataID uint64) error
	Release(ctx context.Context, reason string, failed bool) error
}

// Controller does the holder's duties, one at a time.
type Controller struct {
	Quorum Quorum
	// Look asks the kernel whether the peer is up to date now.
	Look func(context.Context) (bool, error)
	// Peer is the other metadata node; "" where there is none.
	Peer string
	// Lossy: see config.DurabilityLoseSecondsOnPowerCut.
	Lossy  bool
	Timing authority.Timing
	Now    func() time.Time
}

// Name implements controller.Controller.
func (*Controller) Name() string { return "authority.DutyController" }

// Inputs implements controller.Controller.
func (*Controller) Inputs() []controller.Input {
	return []controller.Input{
		safe.Input[*authority.AuthorityStatus](controller.InputWeak),
		safe.Input[*replication.ReplicaStatus](controller.InputWeak),
		safe.Input[*metadata.MasterStatus](controller.InputWeak),
		safe.Input[*address.AddressStatus](controller.InputWeak),
	}
}

// Outputs implements controller.Controller.
func (*Controller) Outputs() []controller.Output { return nil }

// retry is the pause after the quorum could not be asked.
const retry = 300 * time.Millisecond

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	var (
		recorded   uint64
		recordedAt time.Time
	)

	timer := time.NewTimer(c.Timing.VersionInterval)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-timer.C:
		}

		timer.Reset(c.Timing.VersionInterval)

		s, known, err := c.situation(ctx, r)
		if err != nil {
			return err
		}

		if !known {
			continue
		}

		s.recorded, s.recordedAt = max(recorded, s.record.MetaVersion), recordedAt
		chosen := next(s)

		err = c.do(ctx, chosen, s)

		switch {
		case err != nil:
			logger.Warn("duty", zap.Error(err))
			timer.Reset(retry)
		case chosen == recordVersion:
			recorded, recordedAt = s.master.MetaVersion, s.now
		case chosen != nothing:
			// There may be more to do.
			timer.Reset(time.Millisecond)
		}

		r.ResetRestartBackoff()
	}
}

func (c *Controller) do(ctx context.Context, chosen action, s situation) error {
	ctx, cancel := context.WithTimeout(ctx, 3*c.Timing.ApplyTimeout)
	defer cancel()

	switch chosen {
	case recordFormatted:
		return c.Quorum.Formatted(ctx)
	case markUpToDate:
		return c.Quorum.MarkUpToDate(ctx, c.Peer, c.Look)
	case releaseSwitchover:
		return c.Quorum.Release(ctx, s.occasion(), false)
	case releaseFailed:
		return c.Quorum.Release(ctx, s.failed(), true)
	case recordVersion:
		return c.record(ctx, s)
	case nothing:
	}

	return nil
}

// record the version served. A quorum that knows of newer or other metadata has
// the last word: this node stops.
func (c *Controller) record(ctx context.Context, s situation) error {
	err := c.Quorum.RecordVersion(ctx, s.master.MetaVersion, s.master.MetadataID)
	if !errors.Is(err, authority.ErrOldVersion) && !errors.Is(err, authority.ErrForeignMetadata) {
		return err
	}

	return errors.Join(err, c.Quorum.Release(ctx, err.Error(), true))
}

// situation reads the inputs; it isn't known before all that matters is there.
func (c *Controller) situation(ctx context.Context, r controller.Reader) (situation, bool, error) {
	s := situation{peer: c.Peer, lossy: c.Lossy, interval: c.Timing.VersionInterval, now: c.Now()}

	record, err := resources.Read[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if err != nil || record == nil {
		return s, false, err
	}

	replica, err := resources.Read[*replication.ReplicaStatus](ctx, r, replication.ReplicaStatusID)
	if err != nil || replica == nil {
		return s, false, err
	}

	master, err := resources.Read[*metadata.MasterStatus](ctx, r, metadata.MasterStatusID)
	if err != nil || master == nil {
		return s, false, err
	}

	floating, err := resources.Read[*address.AddressStatus](ctx, r, address.AddressStatusID)
	if err != nil {
		return s, false, err
	}

	s.record, s.replica, s.master = *record.TypedSpec(), *replica.TypedSpec(), *master.TypedSpec()
	s.address = floating != nil && len(floating.TypedSpec().Held) > 0

	return s, true, nil
}
