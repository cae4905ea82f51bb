package authority

import "maps"

// fromHolder lets only the holder of the current epoch through.
func (s *State) fromHolder(c Command) error {
	if c.Epoch != s.Epoch {
		return s.stale(c)
	}

	if s.Holder == "" || c.Node != s.Holder {
		return reject(ErrNotHolder, "%s by %s: the holder of epoch %d is %q", c.Kind, c.Node, s.Epoch, s.Holder)
	}

	return nil
}

// observed lets only the holder through, and only what it saw of another
// replica after everything that is on record about it.
func (s *State) observed(c Command) error {
	if err := s.fromHolder(c); err != nil {
		return err
	}

	if c.Peer == s.Holder {
		return reject(ErrHolder, "%s %s: a holder says this of its peer, not of itself", c.Kind, c.Peer)
	}

	if !s.IsReplica(c.Peer) {
		return reject(ErrNotReplica, "%s %s: it holds no replica; replicas are on %q", c.Kind, c.Peer, s.Replicas)
	}

	if c.Seq <= s.Observed[c.Peer] {
		return reject(ErrStaleObservation, "%s %s: observation %d is not later than %d, which is on record", c.Kind, c.Peer, c.Seq, s.Observed[c.Peer])
	}

	return nil
}

// nextEpoch lets only a grant through that was decided in the current epoch.
func (s *State) nextEpoch(c Command) error {
	if c.Epoch == 0 || c.Epoch-1 != s.Epoch {
		return s.stale(c)
	}

	return nil
}

func (s *State) stale(c Command) error {
	return reject(ErrStaleEpoch, "%s by or for %s names epoch %d; the record is in epoch %d", c.Kind, c.Node, c.Epoch, s.Epoch)
}

// begin starts the epoch of the command. What was asked of the last one is over,
// and the new holder numbers what it says from the start: what others said in
// earlier epochs is rejected for its epoch.
func (s *State) begin(c Command) {
	s.Epoch, s.Holder, s.LastHolder = c.Epoch, c.Node, c.Node
	s.Target, s.HoldMS, s.HoldSeq, s.Observed, s.Discard = "", 0, 0, nil, ""
}

// sign keeps who gave a person's command, and why.
func (s *State) sign(c Command) error {
	if c.Who == "" || c.Why == "" {
		return reject(ErrNobodySigned, "%s: say who decides it and why", c.Kind)
	}

	s.Audit = append(s.Audit, Audit{Kind: c.Kind, Node: c.Node, Epoch: c.Epoch, Who: c.Who, Why: c.Why, At: c.At})
	if extra := len(s.Audit) - maxAudit; extra > 0 {
		s.Audit = append([]Audit(nil), s.Audit[extra:]...)
	}

	return nil
}

// with returns the map with one more entry; a nil map becomes one.
func with[V any](m map[string]V, key string, value V) map[string]V {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]V{}
	}

	m[key] = value

	return m
}
