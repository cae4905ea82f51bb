package authority_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// word is a guard of 40 s, and again the one of the next boot.
var (
	word  = authority.Guard{Boot: "b1", TTLMS: 40_000}
	again = authority.Guard{Boot: "b2", TTLMS: 40_000}
)

func TestDecideAboutGuards(t *testing.T) {
	timing := authority.DefaultTiming()
	over := word.TTL() + timing.DeadWait
	// n4 said this last, so long ago.
	says := func(g authority.Guard, ago time.Duration) func(*authority.Situation) {
		return func(s *authority.Situation) {
			s.Nodes["n4"] = authority.NodeView{LastSeen: now.Add(-ago), Report: authority.Report{Guard: g}}
		}
	}
	led := func(ago time.Duration) func(*authority.Situation) {
		return func(s *authority.Situation) { s.LedSince = now.Add(-ago) }
	}
	recorded := func(g authority.Guard) func(*authority.Situation) {
		return func(s *authority.Situation) { s.Record.Guards = map[string]authority.Guard{"n4": g} }
	}
	oldVoter := func(s *authority.Situation) { s.Nodes["n2"] = authority.NodeView{LastSeen: now, Report: up} }
	dead := authority.Guard{Boot: word.Boot, TTLMS: word.TTLMS, Dead: true}
	guard := func(g authority.Guard) authority.Action {
		return authority.Action{Kind: authority.ActGuard, Node: "n4", Guard: g}
	}
	wait, die := authority.Action{Kind: authority.ActWait}, authority.Action{Kind: authority.ActDead, Node: "n4", Guard: word}
	none := authority.Guard{Boot: "b2"}

	for name, tc := range map[string]struct {
		but  []func(*authority.Situation)
		want authority.Action
	}{
		"a node gives its word":           {[]func(*authority.Situation){says(word, 0)}, guard(word)},
		"an old voter would not know it":  {[]func(*authority.Situation){says(word, 0), oldVoter}, wait},
		"but one that has known it does":  {[]func(*authority.Situation){says(again, 0), oldVoter, recorded(word)}, guard(again)},
		"it is on record":                 {[]func(*authority.Situation){says(word, 0), recorded(word)}, wait},
		"it ends":                         {[]func(*authority.Situation){says(none, 0), recorded(word)}, guard(none)},
		"no word, nothing concluded":      {[]func(*authority.Situation){says(none, time.Hour)}, wait},
		"silent for too short":            {[]func(*authority.Situation){says(word, over-1), recorded(word)}, wait},
		"silent for long enough":          {[]func(*authority.Situation){says(word, over), recorded(word)}, die},
		"a leader that is too new":        {[]func(*authority.Situation){recorded(word), led(over - 1)}, wait},
		"a leader that never heard of it": {[]func(*authority.Situation){recorded(word), led(over)}, die},
		"rebooted and silent":             {[]func(*authority.Situation){says(again, time.Hour), recorded(word)}, wait},
		"took its word back and silent":   {[]func(*authority.Situation){says(authority.Guard{Boot: "b1"}, time.Hour), recorded(word)}, wait},
		"dead already":                    {[]func(*authority.Situation){says(word, time.Hour), recorded(dead)}, wait},
		"it slept through its reset":      {[]func(*authority.Situation){says(word, 0), recorded(dead)}, wait},
		"it is back":                      {[]func(*authority.Situation){says(none, 0), recorded(dead)}, guard(none)},
		"it is back and gives its word":   {[]func(*authority.Situation){says(again, 0), recorded(dead)}, guard(again)},
	} {
		t.Run(name, func(t *testing.T) {
			s := situation(formed(t))
			s.GrantAt = now.Add(time.Second)

			for n, view := range s.Nodes {
				view.Report.Guard.Boot = n
				s.Nodes[n] = view
			}

			for _, change := range tc.but {
				change(&s)
			}

			require.Equal(t, tc.want, authority.Decide(s))
		})
	}
}

func TestGuardsOnRecord(t *testing.T) {
	apply := func(s authority.State, c authority.Command) (authority.State, error) {
		c.Node = "n4"

		return s.Apply(c)
	}
	give := func(g authority.Guard) authority.Command {
		return authority.Command{Kind: authority.KindGuard, Boot: g.Boot, TTLMS: g.TTLMS}
	}
	die := func(g authority.Guard) authority.Command {
		return authority.Command{Kind: authority.KindDead, Boot: g.Boot, TTLMS: g.TTLMS}
	}

	s, err := apply(formed(t), give(word))
	require.NoError(t, err)

	_, err = apply(s, die(again))
	require.ErrorIs(t, err, authority.ErrStaleObservation, "concluded from another boot")
	_, err = apply(s, die(authority.Guard{Boot: "b1", TTLMS: 1}))
	require.ErrorIs(t, err, authority.ErrStaleObservation, "concluded from a shorter guard")

	for _, malformed := range []authority.Guard{{TTLMS: 1}, {Boot: "b1", TTLMS: -1}, {Boot: "b1", TTLMS: authority.MaxGuard.Milliseconds() + 1}} {
		_, err = apply(s, give(malformed))
		require.ErrorIs(t, err, authority.ErrMalformed)
	}

	dead, err := apply(s, die(word))
	require.NoError(t, err)
	require.True(t, dead.IsDead("n4"))
	require.False(t, s.IsDead("n4"), "the record before is another one")

	for _, g := range []authority.Guard{word, {Boot: "b1"}} {
		_, err = apply(dead, give(g))
		require.ErrorIs(t, err, authority.ErrDead, "in the boot that is over")
	}

	for _, g := range []authority.Guard{again, {Boot: "b2"}} {
		back, err := apply(dead, give(g))
		require.NoError(t, err)
		require.False(t, back.IsDead("n4"))
	}
}

// guardMemory fails where a test says so.
type guardMemory struct {
	authority.GuardFile

	fails error
}

func (m guardMemory) Remember(left time.Duration) error {
	return errors.Join(m.fails, m.GuardFile.Remember(left))
}

// A node that nobody answers is bound by its word, and so is the next run of
// antlerd; one that was never answered gave none.
func TestANodeIsBoundByItsWord(t *testing.T) {
	t.Parallel()

	c := newClusterOf(t, "n1", "n2", "n3", "n4")
	memories := t.TempDir()

	for name, n := range c.nodes {
		n.config.Boot = "boot of " + name
		n.config.GuardMemory = guardMemory{GuardFile: authority.GuardFile{LeaseFile: authority.LeaseFile(filepath.Join(memories, name))}}
	}

	alone, err := authority.New(c.nodes["n4"].config)
	require.NoError(t, err)
	alone.OfferGuard(time.Minute)

	_, bound := alone.GuardedUntil()
	require.False(t, bound, "nobody has answered")

	c.formed()
	c.start(up, "n4")
	c.nodes["n4"].OfferGuard(time.Minute)
	c.await("n1", "the word is on record", func(s authority.AuthorityStatusSpec) bool {
		return s.Guards["n4"] == authority.Guard{Boot: "boot of n4", TTLMS: 60_000}
	})

	until, bound := c.nodes["n4"].GuardedUntil()
	require.True(t, bound)
	require.Greater(t, time.Until(until), 50*time.Second)

	c.nodes["n4"].stop()

	next, err := authority.New(c.nodes["n4"].config)
	require.NoError(t, err)

	kept, bound := next.GuardedUntil()
	require.True(t, bound, "also where it is not offered any more")
	require.WithinDuration(t, until, kept, 10*time.Second)

	require.NoError(t, c.nodes["n4"].config.Listener.Close())
	c.start(up, "n4")
	c.await("n1", "the word is taken back", func(s authority.AuthorityStatusSpec) bool { return len(s.Guards) == 0 })
	c.await("n4", "it is bound no more", func(authority.AuthorityStatusSpec) bool {
		_, bound := c.nodes["n4"].GuardedUntil()

		return !bound
	})
}

// What the next run could not know of is not promised.
func TestAWordThatCannotBeRememberedIsNotGiven(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.nodes["n3"].config.Boot = "b"
	c.nodes["n3"].config.GuardMemory = guardMemory{
		GuardFile: authority.GuardFile{LeaseFile: authority.LeaseFile(filepath.Join(t.TempDir(), "guard"))}, fails: errors.New("full"),
	}
	c.formed()
	c.nodes["n3"].OfferGuard(time.Minute)

	heard := c.await("n3", "is answered", func(s authority.AuthorityStatusSpec) bool { return s.HaveQuorum && s.Formatted })
	require.Empty(t, heard.Guards)

	_, bound := c.nodes["n3"].GuardedUntil()
	require.False(t, bound)
}
