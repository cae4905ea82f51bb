package authority_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// TestReplaceALostStore: a voter that came back without its memory gets its vote
// back by a person's word, and counts again; its old store never does.
func TestReplaceALostStore(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()
	c.await("n3", "is formed", func(s authority.AuthorityStatusSpec) bool { return s.Formatted })
	c.nodes["n3"].stop()

	dir := c.nodes["n3"].config.Dir
	old := readFiles(t, dir)
	require.NoError(t, os.RemoveAll(dir))

	// It doesn't vote by itself, and nobody else's store can be given up.
	c.start(up, "n3")
	s := c.await("n3", "says that it doesn't vote", func(s authority.AuthorityStatusSpec) bool { return s.Error != "" })
	require.Contains(t, s.Error, `"antlerctl node replace"`)
	require.False(t, s.Voting)

	_, err := c.nodes["n1"].Replacement(c.ctx(), "n2")
	require.ErrorIs(t, err, authority.ErrCannotReplace)
	require.ErrorContains(t, err, "so it has lost nothing: to put another machine in its place, power this one off for good")

	found, err := c.nodes["n2"].Replacement(c.ctx(), "n3")
	require.NoError(t, err)
	require.NotEqual(t, found.Old, found.New)

	err = c.nodes["n2"].ReplaceStore(c.ctx(), "n3", found.New, "ann", "new disk")
	require.ErrorIs(t, err, authority.ErrCannotReplace, "it must be the old store that is named")
	require.ErrorIs(t, c.nodes["n2"].ReplaceStore(c.ctx(), "n3", found.Old, "", ""), authority.ErrCannotReplace, "nobody signed")

	require.NoError(t, c.nodes["n2"].ReplaceStore(c.ctx(), "n3", found.Old, "ann", "new disk"))
	s = c.await("n3", "votes", func(s authority.AuthorityStatusSpec) bool {
		return s.Voting && s.HaveQuorum && s.Error == "" && len(s.Audit) > 0
	})
	require.Equal(t, "ann", s.Audit[len(s.Audit)-1].Who)

	// Its vote counts: with it, n1 alone is a quorum.
	c.nodes["n2"].stop()
	require.NoError(t, c.nodes["n1"].Outdate(c.ctx(), "n2"))
	c.nodes["n3"].stop()

	// The old disk turns up again: whoever is asked first knows better.
	kept := readFiles(t, dir)

	restore(t, dir, old)
	c.start(up, "n3")
	s = c.await("n3", "says that it doesn't vote", func(s authority.AuthorityStatusSpec) bool { return s.Error != "" })
	require.Contains(t, s.Error, "was given up for another one")
	require.False(t, s.Voting)
	c.nodes["n3"].stop()

	restore(t, dir, kept)
	c.start(up, "n3")
	c.await("n3", "votes", func(s authority.AuthorityStatusSpec) bool { return s.Voting && s.HaveQuorum })
}

// TestReplaceNeedsEveryOtherVoter: while one of them could still let the old store
// back in, nothing is changed.
func TestReplaceNeedsEveryOtherVoter(t *testing.T) {
	t.Parallel()

	c := newClusterOf(t, "n1", "n2", "n3", "n5", "n6")
	c.start(blank, "n1", "n2", "n3", "n5", "n6")

	for name := range c.nodes {
		c.await(name, "has consent, and votes", func(s authority.AuthorityStatusSpec) bool { return s.Phase == authority.PhaseForming && s.Voting })
	}

	c.nodes["n3"].stop()
	require.NoError(t, os.RemoveAll(c.nodes["n3"].config.Dir))
	c.start(up, "n3")
	c.nodes["n5"].stop()

	c.await("n3", "says that it doesn't vote", func(s authority.AuthorityStatusSpec) bool { return s.Reason != "" && !s.Voting })

	c.await("n1", "has another leader", func(s authority.AuthorityStatusSpec) bool {
		return s.HaveQuorum && s.Leader != "n3" && s.Leader != "n5"
	})

	_, err := c.nodes["n1"].Replacement(c.ctx(), "n3")
	require.ErrorIs(t, err, authority.ErrCannotReplace)
	require.ErrorContains(t, err, "n5 must be there")
}
