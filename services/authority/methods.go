package authority

import (
	"context"
	"errors"
	"slices"
	"time"
)

// number is the next of those with which this run of antlerd orders what it
// says.
func (a *Authority) number() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.sequence.Next()
}

// holding returns the epoch that this node holds, for a command that only the
// holder may say.
func (a *Authority) holding(what Kind) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if !a.holds() {
		return 0, reject(ErrNotHolder, "%s: this node doesn't hold epoch %d, %q does", what, a.record.Epoch, a.record.Holder)
	}

	return a.record.Epoch, nil
}

// Outdate records that peer lacks what is written from now on. It is for DRBD's
// fence handler: I/O is frozen until it returns, and may resume only if it
// returns nil. It tries until the quorum has applied it, refused it, or ctx
// ends.
func (a *Authority) Outdate(ctx context.Context, peer string) error {
	epoch, err := a.holding(KindOutdate)
	if err != nil {
		return err
	}

	for {
		seq := a.number()
		err := a.propose(ctx, Command{Kind: KindOutdate, Epoch: epoch, Node: a.config.Self, Peer: peer, Seq: seq}, func(s State) bool {
			return s.Epoch == epoch && s.Observed[peer] >= seq && !s.IsUpToDate(peer)
		})

		// A MarkUpToDate that was drawn later won. The handler still waits, so the
		// link is still down, and this observation is later yet.
		if !errors.Is(err, ErrStaleObservation) || ctx.Err() != nil {
			return err
		}
	}
}

// MarkUpToDate records that peer has everything. look must read afresh from the
// kernel whether DRBD is connected to peer and both are UpToDate: it is called
// after the number of this observation was drawn, so that an Outdate which the
// kernel asks for afterwards always wins. Nothing is recorded if look says
// false.
func (a *Authority) MarkUpToDate(ctx context.Context, peer string, look func(context.Context) (bool, error)) error {
	epoch, err := a.holding(KindMarkUpToDate)
	if err != nil {
		return err
	}

	seq := a.number()

	upToDate, err := look(ctx)
	if err != nil || !upToDate {
		return err
	}

	return a.propose(ctx, Command{Kind: KindMarkUpToDate, Epoch: epoch, Node: a.config.Self, Peer: peer, Seq: seq}, func(s State) bool {
		return s.Epoch == epoch && s.Observed[peer] >= seq && s.IsUpToDate(peer)
	})
}

// Formatted records that file system and metadata exist. Nobody ever formats
// again after it.
func (a *Authority) Formatted(ctx context.Context) error {
	epoch, err := a.holding(KindFormatted)
	if err != nil {
		return err
	}

	return a.propose(ctx, Command{Kind: KindFormatted, Epoch: epoch, Node: a.config.Self}, State.Formatted)
}

// Release gives the epoch up. The caller has stopped the master and taken the
// address off: another node may be granted the next epoch the moment this is
// recorded, and waits for this one to unmount and demote. failed says that this
// node could not serve, for the reason given. From the call on this node's lease
// is void, whatever the quorum answers.
func (a *Authority) Release(ctx context.Context, reason string, failed bool) error {
	epoch, err := a.holding(KindRelease)
	if err != nil {
		return err
	}

	c := Command{Kind: KindRelease, Epoch: epoch, Node: a.config.Self, Reason: reason, Failed: failed}

	a.update(func() {
		a.lease.Abandon(epoch)
		c.Run, c.Seq = a.identity.Run, a.sequence.Next()
	})

	return a.propose(ctx, c, func(s State) bool {
		return s.Epoch > epoch || s.Holder == ""
	})
}

// Leave tells the cluster that this node goes down, so that it is granted
// nothing more, and this node to hand over what it serves.
func (a *Authority) Leave() {
	a.update(func() { a.report.Leaving = true })
	a.kick()
}

// Hold asks the quorum to grant nothing for the time (at most MaxHold) beyond
// the usual wait, for a planned restart of antlerd on the holder: what serves
// goes on meanwhile, with nobody to stop it. So the caller restarts only if it
// returns nil. A hold of 0 ends it; the next run of antlerd does that as soon as
// it has a lease.
func (a *Authority) Hold(ctx context.Context, d time.Duration) error {
	epoch, err := a.holding(KindHold)
	if err != nil {
		return err
	}

	seq := a.number()
	c := Command{Kind: KindHold, Epoch: epoch, Node: a.config.Self, HoldMS: d.Milliseconds(), Seq: seq}

	if err := a.propose(ctx, c, func(s State) bool { return s.Epoch == epoch && s.HoldSeq == seq }); err != nil {
		return err
	}

	a.remembering.Lock()
	a.heldFor = d
	a.remembering.Unlock()
	a.rememberLease()

	// With a lease that is valid after the hold was recorded, no leader has
	// decided on a grant before it, and each one knows of it from now on.
	if d > 0 && !a.LeaseValid() {
		return reject(ErrNotHolder, "hold epoch %d: the lease ended before it was recorded", epoch)
	}

	return nil
}

// SetTarget asks for a switchover to the node. It returns when the wish is
// recorded; AuthorityStatus shows how it goes on.
func (a *Authority) SetTarget(ctx context.Context, node string) error {
	epoch := a.known().Epoch

	return a.propose(ctx, Command{Kind: KindSetTarget, Epoch: epoch, Node: node}, func(s State) bool {
		return s.Target == node || s.Epoch > epoch && s.Holder == node
	})
}

// ForceGrant grants the next epoch to a replica that may lack acknowledged
// writes. who and why are recorded. It is refused with ErrLeaseRunning while
// the holder may serve.
func (a *Authority) ForceGrant(ctx context.Context, node, who, why string) error {
	epoch := a.known().Epoch + 1
	c := Command{Kind: KindForceGrant, Epoch: epoch, Node: node, Who: who, Why: why, At: a.config.Now().Unix()}

	return a.propose(ctx, c, func(s State) bool { return s.Epoch == epoch && s.Holder == node })
}

// Restore grants the next epoch to a node that has metadata of the version at
// hand, to form the cluster anew from it. It is refused as ForceGrant is.
func (a *Authority) Restore(ctx context.Context, node string, metaVersion, metadataID uint64, who, why string) error {
	epoch := a.known().Epoch + 1
	c := Command{
		Kind: KindRestore, Epoch: epoch, Node: node, MetaVersion: metaVersion, MetadataID: metadataID,
		Who: who, Why: why, At: a.config.Now().Unix(),
	}

	return a.propose(ctx, c, func(s State) bool { return s.Epoch == epoch && s.Holder == node })
}

// Discard gives up what only the node's replica has, so that it is filled from the
// holder's. who and why are recorded.
func (a *Authority) Discard(ctx context.Context, node, who, why string) error {
	epoch := a.known().Epoch
	c := Command{Kind: KindDiscard, Epoch: epoch, Node: node, Who: who, Why: why, At: a.config.Now().Unix()}

	return a.propose(ctx, c, func(s State) bool { return s.Epoch == epoch && s.Discard == node })
}

// RecordVersion records the meta version and the metadata's id that this node
// serves. ErrOldVersion and ErrForeignMetadata mean that it must stop serving.
func (a *Authority) RecordVersion(ctx context.Context, metaVersion, metadataID uint64) error {
	epoch, err := a.holding(KindRecordVersion)
	if err != nil {
		return err
	}

	c := Command{Kind: KindRecordVersion, Epoch: epoch, Node: a.config.Self, MetaVersion: metaVersion, MetadataID: metadataID}

	// Twice the same is accepted twice, so a rejection is one.
	return a.propose(ctx, c, func(State) bool { return false })
}

// AcceptVersion lets older or other metadata be started. who and why are
// recorded.
func (a *Authority) AcceptVersion(ctx context.Context, metaVersion, metadataID uint64, who, why string) error {
	c := Command{
		Kind: KindAcceptVersion, Epoch: a.known().Epoch, MetaVersion: metaVersion, MetadataID: metadataID,
		Who: who, Why: why, At: a.config.Now().Unix(),
	}

	return a.propose(ctx, c, func(s State) bool {
		return s.MetaVersion == metaVersion && s.MetadataID == metadataID &&
			slices.ContainsFunc(s.Audit, func(audit Audit) bool { return audit.Kind == c.Kind && audit.At == c.At && audit.Who == who })
	})
}

// LeaseValid reports whether this node may serve now.
func (a *Authority) LeaseValid() bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.holds() && a.lease.Valid(a.config.Now(), a.record.Epoch)
}

// MayServeUntil is until when what serves on this node may go on, by its lease or by
// that of the last run of antlerd; zero if it may not now. It is what Status says, for
// who must not depend on anybody who passes that on.
func (a *Authority) MayServeUntil() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()

	now, until := a.config.Now(), time.Time{}

	if a.mayInherit() && now.Before(a.inherited) {
		until = a.inherited
	}

	if end := a.lease.Until(); a.holds() && a.lease.Valid(now, a.record.Epoch) && end.After(until) {
		until = end
	}

	return until
}

func (a *Authority) known() State {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.record
}
