package authority

import (
	"slices"
	"time"
)

// The safety argument, for the record alone (that a holder stops before the
// next one starts is lease.go's):
//
//  1. An epoch has one holder: Grant makes exactly the next epoch, so of two
//     grants decided in the same epoch the second is rejected.
//  2. A holder has every acknowledged write: Grant asks for a place in UpToDate.
//     Replicas start there together, blank and so equal. While a replica is
//     there, the holder's DRBD acknowledges nothing that isn't on both, except
//     after Outdate took the replica out: the I/O stays frozen until then.
//  3. A replica comes back by MarkUpToDate only, said by the holder of the
//     current epoch about an observation later than the last Outdate. The number
//     is drawn before the kernel is asked, and starts anew with each epoch, in
//     which all numbers are one node's. Without it, a MarkUpToDate delayed on
//     its way could overtake the Outdate that followed it, and let a replica
//     serve without the writes that were acknowledged after the link was cut.
//  4. A former holder says nothing: each of its commands names its epoch.
//  5. Only a person breaks 2 (ForceGrant), starts older metadata (AcceptVersion)
//     or both (Restore), and signs for it. Discard breaks none: what is given up
//     is on a replica that isn't in UpToDate.

// MaxHold is the longest hold the record accepts. It isn't in Timing because
// all voters must agree on it.
const MaxHold = 30 * time.Second

// Apply returns the record after the command, or the unchanged record and a
// Rejection. Every command is valid in every state; nothing panics.
func (s State) Apply(c Command) (State, error) {
	next := s.Clone()
	if err := next.apply(c); err != nil {
		return s, err
	}

	return next, nil
}

func (s *State) apply(c Command) error {
	if c.Kind == KindConsent {
		return s.consent(c)
	}

	if s.Phase == PhaseNone {
		return reject(ErrNoConsent, "%s: the cluster isn't formed yet", c.Kind)
	}

	switch c.Kind {
	case KindFormatted:
		return s.formatted(c)
	case KindGrant:
		return s.grant(c)
	case KindRelease:
		return s.release(c)
	case KindHold:
		return s.hold(c)
	case KindOutdate:
		return s.outdate(c)
	case KindMarkUpToDate:
		return s.markUpToDate(c)
	case KindSetTarget:
		return s.setTarget(c)
	case KindClearTarget:
		return s.clearTarget(c)
	case KindRecordVersion:
		return s.recordVersion(c)
	case KindAcceptVersion:
		return s.acceptVersion(c)
	case KindForceGrant:
		return s.forceGrant(c)
	case KindRestore:
		return s.restore(c)
	case KindDiscard:
		return s.discard(c)
	case KindGuard:
		return s.guard(c)
	case KindDead:
		return s.dead(c)
	case KindReplaceStore:
		// Only a record of who decided it: who votes is Raft's own configuration.
		return s.sign(c)
	}

	return reject(ErrUnknownCommand, "unknown command %q: upgrade this node", c.Kind)
}

// consent starts the cluster's life with equal, blank replicas.
func (s *State) consent(c Command) error {
	if s.Phase != PhaseNone {
		return reject(ErrAlreadyConsented, "consent %s: the cluster already has consent %s", c.ConsentID, s.ConsentID)
	}

	replicas := slices.Compact(slices.Sorted(slices.Values(c.Replicas)))
	if c.ConsentID == "" || len(replicas) == 0 || len(replicas) != len(c.Replicas) || replicas[0] == "" {
		return reject(ErrMalformed, "consent %q: needs an id and distinct replicas, not %q", c.ConsentID, c.Replicas)
	}

	s.Phase, s.ConsentID, s.ClusterID = PhaseForming, c.ConsentID, c.ClusterID
	s.Replicas, s.UpToDate = replicas, slices.Clone(replicas)

	return nil
}

// formatted ends forming: the holder has made file system and metadata.
func (s *State) formatted(c Command) error {
	if err := s.fromHolder(c); err != nil {
		return err
	}

	if s.Phase == PhaseFormed {
		return reject(ErrAlreadyFormatted, "%s formatted: file system and metadata exist already", c.Node)
	}

	s.Phase = PhaseFormed

	return nil
}

// grant makes the next epoch. Its number is a compare-and-swap on the epoch in
// which it was decided.
func (s *State) grant(c Command) error {
	if err := s.nextEpoch(c); err != nil {
		return err
	}

	if !s.IsUpToDate(c.Node) {
		return reject(ErrNotUpToDate, "grant epoch %d to %s: it may lack acknowledged writes; up to date are %q", c.Epoch, c.Node, s.UpToDate)
	}

	s.begin(c)

	return nil
}

// release says that the holder has stopped serving and won't start again in
// this epoch.
func (s *State) release(c Command) error {
	if err := s.fromHolder(c); err != nil {
		return err
	}

	if c.Seq < s.HoldSeq {
		return reject(ErrStaleObservation, "release epoch %d: wish %d is older than the hold %d, which is on record", c.Epoch, c.Seq, s.HoldSeq)
	}

	streak := 0
	if c.Failed {
		streak = s.GiveUps[c.Node].Streak + 1
	}

	s.Holder, s.HoldMS = "", 0
	s.GiveUps = with(s.GiveUps, c.Node, GiveUp{Epoch: c.Epoch, Failed: c.Failed, Reason: c.Reason, Streak: streak})

	return nil
}

// hold makes the next grant wait longer, for a planned restart of antlerd on the
// holder; 0 ends it. It is in the record because the next leader has to wait
// too, and numbered so that the end of an earlier hold can't overtake a later
// one.
func (s *State) hold(c Command) error {
	if err := s.fromHolder(c); err != nil {
		return err
	}

	if c.HoldMS < 0 || c.HoldMS > MaxHold.Milliseconds() {
		return reject(ErrHoldTooLong, "hold epoch %d for %d ms: 0 to %s are possible", c.Epoch, c.HoldMS, MaxHold)
	}

	if c.Seq <= s.HoldSeq {
		return reject(ErrStaleObservation, "hold epoch %d: wish %d is not later than %d, which is on record", c.Epoch, c.Seq, s.HoldSeq)
	}

	s.HoldMS, s.HoldSeq = c.HoldMS, c.Seq

	return nil
}

// outdate takes a replica out of UpToDate: from now on writes are acknowledged
// that it doesn't have.
func (s *State) outdate(c Command) error {
	if err := s.observed(c); err != nil {
		return err
	}

	s.Observed = with(s.Observed, c.Peer, c.Seq)
	s.UpToDate = slices.DeleteFunc(s.UpToDate, func(n string) bool { return n == c.Peer })

	if s.Target == c.Peer {
		s.Target = ""
	}

	return nil
}

// markUpToDate puts a replica into UpToDate: DRBD told the holder that it has
// everything, and acknowledges nothing without it again.
func (s *State) markUpToDate(c Command) error {
	if err := s.observed(c); err != nil {
		return err
	}

	s.Observed = with(s.Observed, c.Peer, c.Seq)

	if s.Discard == c.Peer {
		s.Discard = ""
	}

	s.UpToDate = slices.Compact(slices.Sorted(slices.Values(append(s.UpToDate, c.Peer))))

	return nil
}

// setTarget asks the holder to hand over to Node.
func (s *State) setTarget(c Command) error {
	switch {
	case c.Epoch != s.Epoch:
		return s.stale(c)
	case !s.IsReplica(c.Node):
		return reject(ErrNotReplica, "switch over to %s: it holds no replica; replicas are on %q", c.Node, s.Replicas)
	case c.Node == s.Holder:
		return reject(ErrHolder, "switch over to %s: it holds epoch %d already", c.Node, s.Epoch)
	case !s.IsUpToDate(c.Node):
		return reject(ErrNotUpToDate, "switch over to %s: its replica is not up to date: wait for the end of its resync", c.Node)
	}

	s.Target = c.Node

	return nil
}

// clearTarget drops the wish.
func (s *State) clearTarget(c Command) error {
	if c.Epoch != s.Epoch {
		return s.stale(c)
	}

	s.Target = ""

	return nil
}

// recordVersion keeps the highest meta version served. It also ends the
// holder's streak of failures: it serves.
func (s *State) recordVersion(c Command) error {
	if err := s.fromHolder(c); err != nil {
		return err
	}

	if c.MetaVersion < s.MetaVersion {
		return reject(ErrOldVersion, "%s serves meta version %d, but %d was served before: stop it and see \"antlerctl metadata sources\"", c.Node, c.MetaVersion, s.MetaVersion)
	}

	if s.MetadataID != 0 && c.MetadataID != s.MetadataID {
		return reject(ErrForeignMetadata, "%s serves metadata %x, but this cluster's is %x: stop it and see \"antlerctl metadata sources\"", c.Node, c.MetadataID, s.MetadataID)
	}

	s.MetaVersion, s.MetadataID = c.MetaVersion, c.MetadataID

	if g, ok := s.GiveUps[c.Node]; ok {
		g.Streak = 0
		s.GiveUps = with(s.GiveUps, c.Node, g)
	}

	return nil
}

// acceptVersion is a person's word that older or other metadata may be started.
func (s *State) acceptVersion(c Command) error {
	if c.Epoch != s.Epoch {
		return s.stale(c)
	}

	if err := s.sign(c); err != nil {
		return err
	}

	s.MetaVersion, s.MetadataID = c.MetaVersion, c.MetadataID

	return nil
}

// forceGrant is a person's word that the writes which only other replicas have
// are given up.
func (s *State) forceGrant(c Command) error {
	if err := s.nextEpoch(c); err != nil {
		return err
	}

	if !s.IsReplica(c.Node) {
		return reject(ErrNotReplica, "force epoch %d to %s: it holds no replica; replicas are on %q", c.Epoch, c.Node, s.Replicas)
	}

	if err := s.sign(c); err != nil {
		return err
	}

	s.begin(c)
	s.UpToDate = []string{c.Node}

	return nil
}

// restore is a person's word that all replicas are given up for metadata of the
// given version, which the node has at hand. The cluster is formed anew from it:
// until Formatted the node may make a file system, on a blank device only, and
// puts nothing but that metadata there.
func (s *State) restore(c Command) error {
	if c.MetaVersion == 0 || c.MetadataID == 0 {
		return reject(ErrMalformed, "restore on %s: needs the version and the id of the metadata", c.Node)
	}

	if err := s.forceGrant(c); err != nil {
		return err
	}

	s.Phase, s.MetaVersion, s.MetadataID = PhaseForming, c.MetaVersion, c.MetadataID

	return nil
}

// discard is a person's word that what only this replica has is given up, while
// another node serves: it is to be filled from that one. The word is good for
// this epoch only, in which the node can't write anything new that is its own.
func (s *State) discard(c Command) error {
	switch {
	case c.Epoch != s.Epoch:
		return s.stale(c)
	case !s.IsReplica(c.Node):
		return reject(ErrNotReplica, "discard what %s has: it holds no replica; replicas are on %q", c.Node, s.Replicas)
	case s.Holder == "":
		return reject(ErrNotHolder, "discard what %s has: nobody holds epoch %d, so there is nothing to fill it from", c.Node, s.Epoch)
	case c.Node == s.LastHolder || c.Node == s.Holder:
		return reject(ErrHolder, "discard what %s has: it holds epoch %d", c.Node, s.Epoch)
	case s.IsUpToDate(c.Node):
		return reject(ErrUpToDate, "discard what %s has: it has every acknowledged write", c.Node)
	}

	if err := s.sign(c); err != nil {
		return err
	}

	s.Discard = c.Node

	return nil
}
