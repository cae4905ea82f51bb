package authority

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// The argument for a node that is called dead. Its pods may write to their
// volumes for as long as it runs, whether or not anybody hears of it, so that it
// isn't heard of is not enough:
//
//  1. A node gives its word (Guard) before anything may be concluded from its
//     silence: unless a leader answers it, it is reset TTL after it sent the last
//     renewal that was answered. The word is bound to the boot: nothing but a
//     reset, or the record, ends it, and the next run of antlerd keeps it
//     (GuardMemory). The watchdog resets a node on which antlerd doesn't.
//  2. The leader has the quorum confirm that it still leads before it answers
//     such a renewal, as with the holder's. So no answer is given by a former
//     leader once the next one counts.
//  3. The leader counts from when it last heard of the node, or from when it
//     became leader: later than the node does. It waits TTL as it stands in the
//     record, and DeadWait for the watchdog. A node keeps the shorter one of what
//     it offers and what is in the record.
//  4. Dead is recorded for a boot. A node that finds itself dead in the boot that
//     it is in has slept through its own reset, and is reset at once.

// MaxGuard is the longest guard that the record accepts. All voters must agree on
// it.
const MaxGuard = time.Hour

// Guard is a node's word that it resets itself when it hears nothing of the
// quorum.
type Guard struct {
	// Boot of the node for which it is given.
	Boot string `json:"boot" yaml:"boot"`
	// TTLMS is after how long without an answer the node is reset, in ms; 0 is no
	// such word.
	TTLMS int64 `json:"ttlMS" yaml:"ttlMS"`
	// Dead: the node was not heard of for so long that it surely was reset, or is
	// without power. It ends when another boot of it is heard of.
	Dead bool `json:"dead,omitempty" yaml:"dead,omitempty"`
}

// TTL is TTLMS as a duration.
func (g Guard) TTL() time.Duration { return time.Duration(g.TTLMS) * time.Millisecond }

// guard records a node's word, or that it gives none any more.
func (s *State) guard(c Command) error {
	if c.Node == "" || c.Boot == "" || c.TTLMS < 0 || c.TTLMS > MaxGuard.Milliseconds() {
		return reject(ErrMalformed, "guard %q in boot %q for %d ms: needs a node and its boot, and 0 to %s", c.Node, c.Boot, c.TTLMS, MaxGuard)
	}

	if g := s.Guards[c.Node]; g.Dead && g.Boot == c.Boot {
		return reject(ErrDead, "guard %s: it was recorded as dead in this boot: reset it", c.Node)
	}

	if c.TTLMS == 0 {
		delete(s.Guards, c.Node)

		return nil
	}

	s.Guards = with(s.Guards, c.Node, Guard{Boot: c.Boot, TTLMS: c.TTLMS})

	return nil
}

// dead records that a boot of a node is over.
func (s *State) dead(c Command) error {
	g, guarded := s.Guards[c.Node]
	if !guarded || g.Boot != c.Boot || g.TTLMS != c.TTLMS {
		return reject(ErrStaleObservation, "call %s dead: its guard isn't the one that this was concluded from", c.Node)
	}

	g.Dead = true
	s.Guards = with(s.Guards, c.Node, g)

	return nil
}

// guards is what the leader has to record of the nodes' guards; false if nothing.
func (s Situation) guards() (Action, bool) {
	for _, m := range s.Members {
		g, recorded := s.Record.Guards[m.Name]
		offer := s.Nodes[m.Name].Report.Guard

		switch {
		case !s.alive(m.Name):
			if recorded && s.surelyReset(m.Name, g) {
				return Action{Kind: ActDead, Node: m.Name, Guard: g}, true
			}
		case offer.Boot == "" || g.Dead && g.Boot == offer.Boot:
			// It knows of no guards, or is about to be reset.
		case offer.TTLMS == 0 && recorded,
			offer.TTLMS > 0 && (g.Boot != offer.Boot || g.TTLMS != offer.TTLMS) && s.votersKnowGuards():
			return Action{Kind: ActGuard, Node: m.Name, Guard: offer}, true
		}
	}

	return Action{}, false
}

// surelyReset reports whether the node's guard has run out, and the watchdog
// behind it. What a node said last in this term must not be from another boot, or
// that it gives no such word.
func (s Situation) surelyReset(node string, g Guard) bool {
	last := s.Nodes[node]
	if g.Dead || !last.LastSeen.IsZero() && (last.Report.Guard.Boot != g.Boot || last.Report.Guard.TTLMS == 0) {
		return false
	}

	return !s.Now.Before(latest(last.LastSeen, s.LedSince).Add(g.TTL() + s.Timing.DeadWait))
}

// votersKnowGuards keeps the record the same on all voters: one that knows of no
// guards would reject the command that the others apply.
func (s Situation) votersKnowGuards() bool {
	if len(s.Record.Guards) > 0 {
		return true
	}

	for _, m := range s.Members {
		if m.Voter && s.Nodes[m.Name].Report.Guard.Boot == "" {
			return false
		}
	}

	return true
}

// IsDead reports whether the quorum has recorded that the node is without power
// or was reset, and nothing was heard of it since.
func (s State) IsDead(node string) bool { return s.Guards[node].Dead }

// GuardMemory keeps the end of this node's guard for the next run of antlerd. It
// must not outlive a reboot.
type GuardMemory interface {
	LeaseMemory
	// Forget that there was a guard.
	Forget() error
}

// GuardFile is a GuardMemory. It lies on a file system that is in memory.
type GuardFile struct{ LeaseFile }

// Forget implements GuardMemory.
func (f GuardFile) Forget() error {
	err := os.Remove(string(f.LeaseFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget this node's guard: %w", err)
	}

	return nil
}
