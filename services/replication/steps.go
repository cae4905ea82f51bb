package replication

import (
	"context"
	"fmt"
	"time"

	"antler/services/authority"
)

// Fencer has the quorum record that a replica is outdated.
type Fencer interface {
	// Outdate returns nil only when it is committed that peer may not serve. It
	// waits for a quorum if need be, until ctx ends.
	Outdate(ctx context.Context, peer string) error
}

// Saver saves what is on a replica that is not mounted, before it is given up.
type Saver interface {
	// SaveAside returns nil only when all metadata that the replica holds is saved
	// outside of it. The replica itself stays as it is.
	SaveAside(ctx context.Context) error
}

// saveDeadline is for reading a whole replica.
const saveDeadline = 15 * time.Minute

// actions carries out steps. It keeps no state of its own.
type actions struct {
	drbd      DRBD
	inspector inspector
	// mark is there from before the disk is let go of until it is attached again.
	mark mark
	// sound is there if this side's replica is known to be whole: see comparison.
	sound   mark
	fencer  Fencer
	saver   Saver
	timing  authority.Timing
	helpers func() (bool, error)
}

// outcome of a step.
type outcome struct {
	step  step
	begun ReplicaSpecSpec
	err   error
	// found is what stepInspect found, measured what stepMeasure or stepJudge read.
	found    finding
	measured kernel
	// parted: stepJudge has parted from the peer.
	parted bool
}

// take carries out one step. look gives the latest that the kernel told.
func (a actions) take(ctx context.Context, s step, spec ReplicaSpecSpec, look func() kernel) outcome {
	out := outcome{step: s, begun: spec}

	limit := commandTimeout

	switch s {
	case stepPromote:
		limit = a.timing.PromoteDeadline
	case stepDiscard:
		limit = saveDeadline
	}

	if s != stepCreate {
		var cancel context.CancelFunc

		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}

	switch s {
	case stepInspect:
		out.found, out.err = a.inspector.inspect(ctx, spec.Device, spec.ConsentID)
	case stepCreate:
		out.err = a.create(ctx, spec)
	case stepUp:
		out.err = a.up(ctx, spec)
	case stepBreak:
		out.err = a.breakOff(ctx, look)
	case stepDemote:
		out.err = a.drbd.Secondary(ctx)
	case stepRecycle:
		out.err = a.recycle(ctx, spec)
	case stepEqual:
		out.err = a.equal(ctx, look)
	case stepFirst:
		out.err = a.drbd.ForcePrimary(ctx)
	case stepPromote:
		out.err = a.promote(ctx, spec, look)
	case stepFence:
		out.err = a.fence(ctx, spec, look)
	case stepConnect:
		out.err = a.drbd.Connect(ctx)
	case stepDiscard:
		out.err = a.discard(ctx)
	case stepMeasure:
		out.measured, out.err = a.measure(ctx)
	case stepCompare:
		out.err = a.drbd.Compare(ctx)
	case stepJudge:
		out.measured, out.parted, out.err = a.judge(ctx, spec)
	}

	return out
}

// create makes a replica on a blank device. Each stage can be repeated, and none
// is begun before what it needs to be recognised afterwards is on disk.
func (a actions) create(ctx context.Context, spec ReplicaSpecSpec) error {
	// The last look may have been seconds ago.
	found, err := a.inspector.inspect(ctx, spec.Device, spec.ConsentID)
	if err != nil {
		return err
	}

	if found.phase != PhaseBlank {
		return fmt.Errorf("%s is no longer blank: %s", spec.Device, found.problem)
	}

	mark := marker{ConsentID: spec.ConsentID, Device: spec.Device}

	// From now on what is on the device is ours.
	err = a.inspector.marker.write(mark)
	if err != nil {
		return err
	}

	// Only the signatures and the ends were looked at. The new replicas are going
	// to be declared equal, so they are made equal. A replacement isn't: it gets
	// all of its peer's blocks.
	if !spec.Formatted {
		err = a.inspector.device.Zero(ctx, spec.Device)
		if err != nil {
			return fmt.Errorf("zero %s: %w", spec.Device, err)
		}
	}

	err = a.configure(spec)
	if err != nil {
		return err
	}

	err = a.drbd.CreateMetadata(ctx)
	if err != nil {
		return err
	}

	mark.Created = true

	return a.inspector.marker.write(mark)
}

// configure writes the configuration that drbdadm reads.
func (a actions) configure(spec ReplicaSpecSpec) error {
	content, err := a.drbd.renderConfig(spec, a.timing)
	if err != nil {
		return err
	}

	return writeConfig(a.drbd.Config, content)
}

func (a actions) up(ctx context.Context, spec ReplicaSpecSpec) error {
	err := a.configure(spec)
	if err != nil {
		return err
	}

	err = a.drbd.Adjust(ctx, spec.Peer == "")
	if err != nil {
		return err
	}

	return a.mark.clear()
}

// equal declares two new replicas equal, and parts from the peer: a word that it
// sent before it heard of that (Inconsistent) may still be on its way, and this
// side would believe it and send the peer nothing of what it writes, while the
// peer takes itself for up to date. Neither has old words for the next connection.
//
// It ends when the kernel has told that they are parted: what it told before that
// looks like two replicas that are ready.
func (a actions) equal(ctx context.Context, look func() kernel) error {
	err := a.drbd.DeclareEqual(ctx)
	if err != nil {
		return err
	}

	err = a.drbd.Leave(ctx)
	if err != nil {
		return err
	}

	for !look().alone() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("part from the peer to connect to it anew: %w", ctx.Err())
		case <-time.After(yieldPoll):
		}
	}

	return nil
}

// promoteRetry is the pause between attempts to promote, yieldPoll between looks
// at a peer that is on its way out of the primary role.
const (
	promoteRetry = 100 * time.Millisecond
	yieldPoll    = 10 * time.Millisecond
)

// promote tries until ctx ends. The quorum has granted this node the epoch: a
// peer that still seems to be primary is dead, hung, or on its way out. DRBD
// notices the first by itself; from the others it is parted.
func (a actions) promote(ctx context.Context, spec ReplicaSpecSpec, look func() kernel) error {
	err := a.drbd.NeedBoth(ctx, spec)
	if err != nil {
		return err
	}

	a.awaitYield(ctx, spec, look)

	patience := time.NewTimer(a.timing.ReplicaPingInterval + a.timing.ReplicaPingTimeout)
	defer patience.Stop()

	part := false

	var why error

	for {
		err := a.drbd.Primary(ctx)
		if err == nil {
			return nil
		}

		if refused(err, refusedTwoPrimaries) && part {
			part = false

			err = a.part(ctx, spec)
			if err == nil {
				continue
			}
		}

		if a.drbd.nine() && (refused(err, refusedNoQuorum) || refused(err, refusedNoData)) {
			err = a.promoteAlone(ctx, spec, look, err)
		}

		if err == nil {
			return nil
		}

		// The last attempt is killed when the time is up: the kernel's reason is
		// that of the one before.
		if why == nil || ctx.Err() == nil {
			why = err
		}

		select {
		case <-ctx.Done():
			return explain(why)
		case <-patience.C:
			part = true
		case <-time.After(promoteRetry):
		}
	}
}

// awaitYield gives a peer that unmounts half of the time that there is: to be
// parted from it would cost a resync. Others get none.
func (a actions) awaitYield(ctx context.Context, spec ReplicaSpecSpec, look func() kernel) {
	ctx, cancel := context.WithTimeout(ctx, a.timing.PromoteDeadline/2)
	defer cancel()

	for spec.PeerYields && look().connection == connected && look().peerRole == RolePrimary {
		select {
		case <-ctx.Done():
			return
		case <-time.After(yieldPoll):
		}
	}
}

// part lets go of the peer. It is connected to again afterwards: see stepConnect.
func (a actions) part(ctx context.Context, spec ReplicaSpecSpec) error {
	if a.drbd.nine() {
		return a.drbd.Disconnect(ctx, resourceName, nodeID(spec.Peer, a.drbd.Node, spec.Peer))
	}

	self, err := kernelEndpoint(spec.SelfAddress)
	if err != nil {
		return err
	}

	peer, err := kernelEndpoint(spec.PeerAddress)
	if err != nil {
		return err
	}

	return a.drbd.Disconnect(ctx, self, peer)
}

// explain adds what a person can do about the kernel's refusal.
func explain(err error) error {
	switch {
	case refused(err, refusedTwoPrimaries):
		return fmt.Errorf("%w: the peer is still primary: stop it", err)
	case refused(err, refusedNoData):
		return fmt.Errorf("%w: this replica is not up to date: bring the other one back, or wait for the end of the resync", err)
	case refused(err, refusedNotOutdated):
		return fmt.Errorf("%w: the quorum did not record that the peer is outdated: wait for a second voter", err)
	case refused(err, refusedNoQuorum):
		return fmt.Errorf("%w: the peer is not there, and the quorum did not record that it is outdated: wait for a second voter", err)
	case refused(err, refusedHeldOpen):
		return fmt.Errorf("%w: something has %s open or mounted", err, drbdDevice)
	}

	return err
}

// fence is for I/O that stays frozen although DRBD's handler has ended, and for a
// peer that is connected and not written to: nobody asks the quorum then, but us.
func (a actions) fence(ctx context.Context, spec ReplicaSpecSpec, look func() kernel) error {
	before, question := look(), a.drbd.question()

	err := a.fencer.Outdate(ctx, spec.Peer)
	if err != nil {
		return fmt.Errorf("have %s outdated: %w: I/O stays frozen", spec.Peer, err)
	}

	// If the peer came back meanwhile, DRBD has thawed by itself. If it has left
	// again since, what was recorded may have been taken back: ask again.
	if k := look(); k.suspended == "" || k.connects != before.connects {
		return nil
	}

	return a.drbd.GoOnAlone(ctx, question)
}

// discard ends a split brain to the loss of this side. Nothing is given up before
// it is saved, and nothing by DRBD before it is connected to the other side.
func (a actions) discard(ctx context.Context) error {
	err := a.saver.SaveAside(ctx)
	if err != nil {
		return fmt.Errorf("%w: nothing was discarded: if its metadata is not needed, put a blank disk in the place of this replica's", err)
	}

	return a.drbd.ConnectDiscarding(ctx)
}

func (a actions) measure(ctx context.Context) (kernel, error) {
	output, err := a.drbd.Statistics(ctx)
	if err != nil {
		return kernel{}, err
	}

	return replay(output), nil
}
