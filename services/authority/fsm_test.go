package authority_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"antler/services/authority"
)

// step is a command and what the record said to it.
type step struct {
	command authority.Command
	before  authority.State
	after   authority.State
	err     error
}

// TestRandomHistories plays random commands, most of them nearly right, and
// checks what must hold between any two records, and over the whole history.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var history []step

		state := authority.State{}

		for range rapid.IntRange(1, 60).Draw(t, "length") {
			c := drawCommand(t, state)
			next, err := state.Apply(c)
			s := step{command: c, before: state, after: next, err: err}
			history = append(history, s)

			checkStep(t, s)

			state = next
		}

		checkOutdated(t, history)
		checkReplicasHaveTheWrites(t, history)
	})
}

// checkStep checks one transition.
func checkStep(t *rapid.T, s step) {
	if s.err != nil {
		var rejection *authority.Rejection

		require.ErrorAs(t, s.err, &rejection)
		require.NotEmpty(t, rejection.Code)
		require.Equal(t, s.before, s.after, "a rejected command changed the record")

		return
	}

	restored := s.command.Kind == authority.KindRestore
	byPerson := s.command.Kind == authority.KindForceGrant || restored

	switch s.command.Kind {
	case authority.KindGrant, authority.KindForceGrant, authority.KindRestore:
		require.Equal(t, s.before.Epoch+1, s.after.Epoch)
		require.True(t, byPerson || s.before.IsUpToDate(s.after.Holder), "granted to a replica that isn't up to date")
	default:
		require.Equal(t, s.before.Epoch, s.after.Epoch, "%s changed the epoch", s.command.Kind)
		require.True(t, s.after.Holder == s.before.Holder || s.after.Holder == "", "%s changed the holder", s.command.Kind)
	}

	if s.command.Kind != authority.KindAcceptVersion && !restored {
		require.GreaterOrEqual(t, s.after.MetaVersion, s.before.MetaVersion)
		require.True(t, s.before.MetadataID == 0 || s.after.MetadataID == s.before.MetadataID)
	}

	require.True(t, restored || s.before.Phase != authority.PhaseFormed || s.after.Phase == authority.PhaseFormed, "formed twice")
	require.True(t, s.before.ConsentID == "" || s.after.ConsentID == s.before.ConsentID, "second consent")
	require.True(t, s.after.LastHolder == "" || s.after.IsUpToDate(s.after.LastHolder), "the holder itself was outdated")
	require.True(t, slices.IsSorted(s.after.UpToDate))
	require.Subset(t, s.after.Replicas, s.after.UpToDate)
	for n, g := range s.after.Guards {
		before := s.before.Guards[n]
		require.True(t, !g.Dead || before.Dead || s.command.Kind == authority.KindDead && before == authority.Guard{Boot: s.command.Boot, TTLMS: s.command.TTLMS},
			"dead by nobody's word, or by what was concluded from another boot")
	}

	require.True(t, s.after.Discard == "" || s.after.Discard != s.after.LastHolder && !s.after.IsUpToDate(s.after.Discard), "what counts is given up")
	require.True(t, s.after.Discard == "" || s.after.Discard == s.before.Discard || s.command.Kind == authority.KindDiscard, "given up by nobody's word")
}

// checkOutdated: between Outdate(peer, seq) and MarkUpToDate(peer, later seq)
// nobody but a person grants to peer.
func checkOutdated(t *rapid.T, history []step) {
	outdated := map[string]uint64{}

	for _, s := range history {
		if s.err != nil {
			continue
		}

		switch c := s.command; c.Kind {
		case authority.KindOutdate:
			outdated[c.Peer] = c.Seq
		case authority.KindMarkUpToDate:
			require.Greater(t, c.Seq, outdated[c.Peer])
			delete(outdated, c.Peer)
		case authority.KindHold, authority.KindRelease:
			require.GreaterOrEqual(t, c.Seq, s.before.HoldSeq)
		case authority.KindForceGrant, authority.KindRestore:
			delete(outdated, c.Node)
			forget(outdated)
		case authority.KindGrant:
			require.NotContains(t, outdated, c.Node)
			forget(outdated)
		}
	}
}

// forget the numbers, but not who is outdated: they start anew in each epoch.
func forget(outdated map[string]uint64) {
	for n := range outdated {
		outdated[n] = 0
	}
}

// checkReplicasHaveTheWrites models what the record is for. The holder writes
// between any two commands; a write reaches the replicas that are UpToDate; a
// replica that is marked gets all. Then no grant may lose a write.
func checkReplicasHaveTheWrites(t *rapid.T, history []step) {
	written, has := 0, map[string]int{}

	for _, s := range history {
		if s.err == nil {
			switch c := s.command; c.Kind {
			case authority.KindMarkUpToDate:
				has[c.Peer] = written
			case authority.KindForceGrant, authority.KindRestore:
				written = has[c.Node] // given up by a person
			case authority.KindGrant:
				require.Equal(t, written, has[c.Node], "epoch %d was granted to a replica without all writes", c.Epoch)
			}
		}

		if s.after.Holder != "" {
			written++

			for _, n := range s.after.UpToDate {
				has[n] = written
			}
		}
	}
}

func drawCommand(t *rapid.T, s authority.State) authority.Command {
	node := rapid.SampledFrom([]string{"n1", "n2", "n3", s.Holder, s.Holder, ""})
	near := func(around uint64) uint64 {
		return around + rapid.SampledFrom([]uint64{0, 0, 0, 0, 1, 1, 2, ^uint64(0)}).Draw(t, "offset")
	}

	c := authority.Command{
		Version:     authority.CommandVersion,
		Kind:        drawKind(t),
		Epoch:       near(s.Epoch),
		Node:        node.Draw(t, "node"),
		Peer:        node.Draw(t, "peer"),
		ConsentID:   rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "consent"),
		Replicas:    rapid.SampledFrom([][]string{{"n1", "n2"}, {"n2", "n1"}, {"n1"}, {"n1", "n1"}, {""}, nil}).Draw(t, "replicas"),
		Failed:      rapid.Bool().Draw(t, "failed"),
		HoldMS:      rapid.Int64Range(-1, 40_000).Draw(t, "hold"),
		Boot:        rapid.SampledFrom([]string{"", "b1", "b1", "b2"}).Draw(t, "boot"),
		TTLMS:       rapid.SampledFrom([]int64{-1, 0, 40_000, 40_000, 60_000}).Draw(t, "ttl"),
		MetaVersion: near(s.MetaVersion),
		MetadataID:  rapid.SampledFrom([]uint64{7, 7, 7, 8}).Draw(t, "id"),
		Who:         rapid.SampledFrom([]string{"", "ann", "ann"}).Draw(t, "who"),
		Why:         "test",
	}
	c.Seq = near(s.Observed[c.Peer])

	if c.Kind == authority.KindHold || c.Kind == authority.KindRelease {
		c.Seq = near(s.HoldSeq)
	}

	return c
}

func drawKind(t *rapid.T) authority.Kind {
	return rapid.SampledFrom([]authority.Kind{
		authority.KindConsent, authority.KindFormatted, authority.KindGrant, authority.KindGrant, authority.KindRelease,
		authority.KindHold, authority.KindOutdate, authority.KindOutdate, authority.KindMarkUpToDate,
		authority.KindMarkUpToDate, authority.KindSetTarget, authority.KindClearTarget, authority.KindRecordVersion,
		authority.KindAcceptVersion, authority.KindForceGrant, authority.KindRestore, authority.KindReplaceStore, authority.KindDiscard, authority.KindGuard, authority.KindDead, "", "make-coffee",
	}).Draw(t, "kind")
}

// formed returns a record in epoch 1 held by n1, with replicas on n1 and n2.
func formed(t *testing.T, more ...authority.Command) authority.State {
	t.Helper()

	return apply(t, authority.State{}, append([]authority.Command{
		{Kind: authority.KindConsent, ConsentID: "c", ClusterID: "k", Replicas: []string{"n1", "n2"}},
		{Kind: authority.KindGrant, Epoch: 1, Node: "n1"},
		{Kind: authority.KindFormatted, Epoch: 1, Node: "n1"},
	}, more...)...)
}

func apply(t *testing.T, s authority.State, commands ...authority.Command) authority.State {
	t.Helper()

	for _, c := range commands {
		var err error

		s, err = s.Apply(c)
		require.NoError(t, err, "%+v", c)
	}

	return s
}

func TestRejections(t *testing.T) {
	outdated := authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 5}

	for name, tc := range map[string]struct {
		state   authority.State
		command authority.Command
		want    authority.Code
	}{
		"before consent":        {authority.State{}, authority.Command{Kind: authority.KindGrant, Epoch: 1, Node: "n1"}, authority.ErrNoConsent},
		"second consent":        {formed(t), authority.Command{Kind: authority.KindConsent, ConsentID: "d", Replicas: []string{"n1"}}, authority.ErrAlreadyConsented},
		"consent to nobody":     {authority.State{}, authority.Command{Kind: authority.KindConsent, ConsentID: "c"}, authority.ErrMalformed},
		"format twice":          {formed(t), authority.Command{Kind: authority.KindFormatted, Epoch: 1, Node: "n1"}, authority.ErrAlreadyFormatted},
		"second grant of two":   {formed(t), authority.Command{Kind: authority.KindGrant, Epoch: 1, Node: "n2"}, authority.ErrStaleEpoch},
		"grant from the future": {formed(t), authority.Command{Kind: authority.KindGrant, Epoch: 3, Node: "n2"}, authority.ErrStaleEpoch},
		"grant to outdated":     {formed(t, outdated), authority.Command{Kind: authority.KindGrant, Epoch: 2, Node: "n2"}, authority.ErrNotUpToDate},
		"delayed mark":          {formed(t, outdated), authority.Command{Kind: authority.KindMarkUpToDate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 4}, authority.ErrStaleObservation},
		"outdate by the peer":   {formed(t), authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n2", Peer: "n1", Seq: 1}, authority.ErrNotHolder},
		"outdate oneself":       {formed(t), authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n1", Seq: 1}, authority.ErrHolder},
		"former holder": {
			formed(t, authority.Command{Kind: authority.KindGrant, Epoch: 2, Node: "n2"}),
			authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 9}, authority.ErrStaleEpoch,
		},
		"after release": {
			formed(t, authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1"}),
			outdated, authority.ErrNotHolder,
		},
		"switch to a witness":  {formed(t), authority.Command{Kind: authority.KindSetTarget, Epoch: 1, Node: "n3"}, authority.ErrNotReplica},
		"switch to outdated":   {formed(t, outdated), authority.Command{Kind: authority.KindSetTarget, Epoch: 1, Node: "n2"}, authority.ErrNotUpToDate},
		"switch to holder":     {formed(t), authority.Command{Kind: authority.KindSetTarget, Epoch: 1, Node: "n1"}, authority.ErrHolder},
		"force without a name": {formed(t, outdated), authority.Command{Kind: authority.KindForceGrant, Epoch: 2, Node: "n2", Why: "fire"}, authority.ErrNobodySigned},
		"force without why":    {formed(t, outdated), authority.Command{Kind: authority.KindForceGrant, Epoch: 2, Node: "n2", Who: "ann"}, authority.ErrNobodySigned},
		"force a witness":      {formed(t), authority.Command{Kind: authority.KindForceGrant, Epoch: 2, Node: "n3", Who: "ann", Why: "fire"}, authority.ErrNotReplica},
		"delayed end of a hold": {
			formed(t, authority.Command{Kind: authority.KindHold, Epoch: 1, Node: "n1", HoldMS: 9, Seq: 2}),
			authority.Command{Kind: authority.KindHold, Epoch: 1, Node: "n1", Seq: 1}, authority.ErrStaleObservation,
		},
		"delayed release": {
			formed(t, authority.Command{Kind: authority.KindHold, Epoch: 1, Node: "n1", HoldMS: 9, Seq: 2}),
			authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1", Seq: 1}, authority.ErrStaleObservation,
		},
		"discard what counts":        {formed(t), discard("n2", 1), authority.ErrUpToDate},
		"discard what is served":     {formed(t, outdated), discard("n1", 1), authority.ErrHolder},
		"discard a witness":          {formed(t, outdated), discard("n3", 1), authority.ErrNotReplica},
		"discard in an epoch before": {formed(t, outdated), discard("n2", 0), authority.ErrStaleEpoch},
		"discard with nothing to fill it from": {
			formed(t, outdated, authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1"}), discard("n2", 1), authority.ErrNotHolder,
		},
		"discard without a name": {
			formed(t, outdated), authority.Command{Kind: authority.KindDiscard, Epoch: 1, Node: "n2", Why: "fire"}, authority.ErrNobodySigned,
		},
		"hold for an hour": {formed(t), authority.Command{Kind: authority.KindHold, Epoch: 1, Node: "n1", HoldMS: 3_600_000}, authority.ErrHoldTooLong},
		"unknown":          {formed(t), authority.Command{Kind: "make-coffee"}, authority.ErrUnknownCommand},
		"version goes backward": {
			formed(t, authority.Command{Kind: authority.KindRecordVersion, Epoch: 1, Node: "n1", MetaVersion: 9, MetadataID: 7}),
			authority.Command{Kind: authority.KindRecordVersion, Epoch: 1, Node: "n1", MetaVersion: 8, MetadataID: 7}, authority.ErrOldVersion,
		},
		"other metadata": {
			formed(t, authority.Command{Kind: authority.KindRecordVersion, Epoch: 1, Node: "n1", MetaVersion: 9, MetadataID: 7}),
			authority.Command{Kind: authority.KindRecordVersion, Epoch: 1, Node: "n1", MetaVersion: 10, MetadataID: 8}, authority.ErrForeignMetadata,
		},
	} {
		t.Run(name, func(t *testing.T) {
			after, err := tc.state.Apply(tc.command)
			require.ErrorIs(t, err, tc.want)
			require.Equal(t, tc.state, after)
		})
	}
}

func discard(node string, epoch uint64) authority.Command {
	return authority.Command{Kind: authority.KindDiscard, Epoch: epoch, Node: node, Who: "ann", Why: "n1 burnt"}
}

func TestDiscardIsGoodForItsEpochOnly(t *testing.T) {
	forced := formed(t,
		authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 1},
		authority.Command{Kind: authority.KindForceGrant, Epoch: 2, Node: "n2", Who: "ann", Why: "n1 burnt"},
		discard("n1", 2))
	require.Equal(t, "n1", forced.Discard)
	require.Len(t, forced.Audit, 2)

	filled := apply(t, forced, authority.Command{Kind: authority.KindMarkUpToDate, Epoch: 2, Node: "n2", Peer: "n1", Seq: 1})
	require.Empty(t, filled.Discard)

	next := apply(t, forced, authority.Command{Kind: authority.KindGrant, Epoch: 3, Node: "n2"})
	require.Empty(t, next.Discard)
}

func TestForceGrantMakesTheNodeTheOnlyCurrentOne(t *testing.T) {
	s := formed(t,
		authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 1},
		authority.Command{Kind: authority.KindForceGrant, Epoch: 2, Node: "n2", Who: "ann", Why: "n1 burnt"})

	require.Equal(t, []string{"n2"}, s.UpToDate)
	require.Equal(t, "n2", s.Holder)
	require.Equal(t, []authority.Audit{{Kind: authority.KindForceGrant, Node: "n2", Epoch: 2, Who: "ann", Why: "n1 burnt"}}, s.Audit)
}

func TestRestoreFormsTheClusterAnew(t *testing.T) {
	before := formed(t, authority.Command{Kind: authority.KindRecordVersion, Epoch: 1, Node: "n1", MetaVersion: 90, MetadataID: 7})
	restore := authority.Command{Kind: authority.KindRestore, Epoch: 2, Node: "n2", MetaVersion: 80, MetadataID: 7, Who: "ann", Why: "both disks died"}

	s := apply(t, before, restore)
	require.False(t, s.Formatted())
	require.Equal(t, "n2", s.Holder)
	require.Equal(t, []string{"n2"}, s.UpToDate)
	require.EqualValues(t, 80, s.MetaVersion)

	s = apply(t, s, authority.Command{Kind: authority.KindFormatted, Epoch: 2, Node: "n2"})
	require.True(t, s.Formatted())

	for _, change := range []func(*authority.Command){
		func(c *authority.Command) { c.Who = "" },
		func(c *authority.Command) { c.MetaVersion = 0 },
		func(c *authority.Command) { c.MetadataID = 0 },
		func(c *authority.Command) { c.Epoch = 1 },
		func(c *authority.Command) { c.Node = "n3" },
	} {
		wrong := restore
		change(&wrong)

		after, err := before.Apply(wrong)
		require.Error(t, err)
		require.Equal(t, before, after)
	}
}

func TestFailuresInARowAreCountedUntilItServes(t *testing.T) {
	fail := func(epoch uint64) []authority.Command {
		return []authority.Command{
			{Kind: authority.KindRelease, Epoch: epoch, Node: "n1", Failed: true, Reason: "fsck"},
			{Kind: authority.KindGrant, Epoch: epoch + 1, Node: "n1"},
		}
	}

	s := formed(t, append(fail(1), fail(2)...)...)
	require.Equal(t, 2, s.GiveUps["n1"].Streak)

	s = apply(t, s, authority.Command{Kind: authority.KindRecordVersion, Epoch: 3, Node: "n1", MetaVersion: 1, MetadataID: 1})
	require.Zero(t, s.GiveUps["n1"].Streak)
}

func TestStateSurvivesASnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := authority.State{}

		for range rapid.IntRange(0, 30).Draw(t, "length") {
			s, _ = s.Apply(drawCommand(t, s))
		}

		raw, err := authority.EncodeState(s, 7)
		require.NoError(t, err)

		back, index, err := authority.DecodeState(raw)
		require.NoError(t, err)
		require.EqualValues(t, 7, index)

		again, err := authority.EncodeState(back, index)
		require.NoError(t, err)
		require.Equal(t, string(raw), string(again))
	})
}

func TestCommandOfAnotherVersionIsRejected(t *testing.T) {
	_, err := authority.DecodeCommand(signed(`{"v":2,"kind":"grant","epoch":1,"node":"n1"}`))
	require.ErrorIs(t, err, authority.ErrUnknownCommand)
}

func TestCommandThatTheDiskChangedIsNoticed(t *testing.T) {
	raw, err := authority.Command{Kind: authority.KindGrant, Epoch: 1, Node: "n1"}.Encode()
	require.NoError(t, err)

	_, err = authority.DecodeCommand(raw)
	require.NoError(t, err)

	for i := range raw {
		changed := slices.Clone(raw)
		changed[i] ^= 1
		_, err = authority.DecodeCommand(changed)
		require.ErrorIs(t, err, authority.ErrMalformed, "byte %d", i)
	}
}

// signed puts the checksum of the log before a command.
func signed(text string) []byte {
	return fmt.Appendf(nil, "%08x %s", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)), text)
}

// FuzzDecodeAndApply: no bytes make a voter panic, in any state.
func FuzzDecodeAndApply(f *testing.F) {
	f.Add(`{"v":1,"kind":"grant","epoch":2,"node":"n2"}`, []byte(`{"v":1,"state":{"phase":"formed","epoch":1}}`))
	f.Add(`{"v":1,"kind":"outdate","epoch":1,"node":"n1","peer":"n2","seq":1}`, []byte(`{"v":1,"state":{"phase":"formed","epoch":1,"holder":"n1","replicas":["n1","n2"]}}`))
	f.Add("\x00\xff", []byte("null"))
	f.Add(`{"v":1,"kind":"consent","replicas":[""]}`, []byte(`{"v":1}`))

	f.Fuzz(func(t *testing.T, command string, rawState []byte) {
		state, _, err := authority.DecodeState(rawState)
		if err != nil {
			state = authority.State{}
		}

		c, err := authority.DecodeCommand(signed(command))
		if err == nil {
			_, err = state.Apply(c)
		}

		if rejection := (*authority.Rejection)(nil); err != nil && !errors.As(err, &rejection) {
			t.Fatalf("not a rejection: %v", err)
		}
	})
}
