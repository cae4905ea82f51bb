package authority

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// OfferGuard has this node give its word, from when a leader has answered it for
// the first time: a cluster without a quorum can be started. Who calls it resets the node
// at GuardedUntil, whatever happens to antlerd.
func (a *Authority) OfferGuard(ttl time.Duration) {
	a.update(func() { a.guardTTL = ttl })
}

// GuardedUntil is when this node must be reset unless a leader answers it before;
// false where it gave no such word. The time is zero where the quorum has
// recorded that this boot is over.
func (a *Authority) GuardedUntil() (until time.Time, guarded bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if g := a.record.Guards[a.config.Self]; g.Dead && g.Boot == a.config.Boot {
		return time.Time{}, true
	}

	return a.guardedUntil, !a.guardedUntil.IsZero()
}

// IsDead reports whether the quorum has recorded that the node is without power or
// was reset, as far as this node knows.
func (a *Authority) IsDead(node string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.record.IsDead(node)
}

// recallGuard takes over the word that the last run of antlerd gave.
func (a *Authority) recallGuard() error {
	if a.config.GuardMemory == nil {
		return nil
	}

	left, known, err := a.config.GuardMemory.Recall()
	if err != nil {
		return fmt.Errorf("set up the authority: %w: restart this node", err)
	}

	if known {
		a.guardedUntil = a.started.Add(left)
	}

	return nil
}

// beginGuard binds this node before the offer is sent for the first time.
func (a *Authority) beginGuard() {
	a.mu.Lock()
	ttl := a.guardTTL
	begin := ttl > 0 && a.config.GuardMemory != nil && a.config.Boot != "" && a.guardedUntil.IsZero() && !a.answered.IsZero()
	a.mu.Unlock()

	if !begin {
		return
	}

	until := a.config.Now().Add(ttl)

	// Not known to the next run, it is not given.
	if a.rememberGuard(ttl) {
		a.update(func() { a.guardedUntil = until })
	}
}

// offer is what the next renewal says of this node's guard. The lock is held.
func (a *Authority) offer() Guard {
	g := Guard{Boot: a.config.Boot}
	if !a.guardedUntil.IsZero() {
		g.TTLMS = a.guardTTL.Milliseconds()
	}

	return g
}

// extendGuard after a leader has answered the renewal that was sent at the given
// time, or end it where it is neither offered nor in the record.
func (a *Authority) extendGuard(sent time.Time) {
	a.mu.Lock()
	guarded := !a.guardedUntil.IsZero()
	ttl := guardFor(a.guardTTL, a.record.Guards[a.config.Self], a.config.Boot)
	a.mu.Unlock()

	if !guarded {
		return
	}

	if ttl == 0 {
		if err := a.config.GuardMemory.Forget(); err != nil {
			a.config.Logger.Warn("this node keeps the word that nobody asks for any more", zap.Error(err))

			return
		}

		a.update(func() { a.guardedUntil = time.Time{} })

		return
	}

	until := sent.Add(ttl)

	// Where it can't be written the next run keeps an earlier end: that is safe.
	a.rememberGuard(max(until.Sub(a.config.Now()), 0))
	a.mu.Lock()
	a.guardedUntil = until
	a.mu.Unlock()
}

// guardFor is for how long an answer keeps this node from being reset: the
// shorter one of what it offers and what is in the record for this boot. 0 is
// that it isn't bound.
func guardFor(offer time.Duration, recorded Guard, boot string) time.Duration {
	switch {
	case recorded.Boot != boot || recorded.TTLMS == 0:
		return offer
	case offer == 0:
		return recorded.TTL()
	}

	return min(offer, recorded.TTL())
}

// rememberGuard is called by the one goroutine that renews.
func (a *Authority) rememberGuard(left time.Duration) bool {
	err := a.config.GuardMemory.Remember(left)
	if err != nil && !a.guardForgets {
		a.config.Logger.Warn("the next run of antlerd won't know of this node's word to reset itself", zap.Error(err))
	}

	a.guardForgets = err != nil

	return err == nil
}
