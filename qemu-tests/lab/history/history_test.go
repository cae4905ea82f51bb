package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab/history"
)

func done(kind history.Kind, path, to, hash string) history.Op {
	return history.Op{Kind: kind, Path: path, To: to, Hash: hash, Done: true}
}

func failed(kind history.Kind, path, to, hash string) history.Op {
	return history.Op{Kind: kind, Path: path, To: to, Hash: hash, Done: true, Err: "input/output error"}
}

func open(kind history.Kind, path, to, hash string) history.Op {
	return history.Op{Kind: kind, Path: path, To: to, Hash: hash}
}

func TestCheck(t *testing.T) {
	file := func(path, hash string) history.Entry { return history.Entry{Path: path, Hash: hash} }
	dir := func(path string) history.Entry { return history.Entry{Path: path, Dir: true} }

	for name, test := range map[string]struct {
		ops                   []history.Op
		found                 []history.Entry
		lost, altered, undone int
	}{
		"all there": {
			ops: []history.Op{
				done(history.Mkdir, "d", "", ""), done(history.Create, "d/a", "", "1"),
				done(history.Append, "d/a", "", "2"), done(history.Rename, "d/a", "d/b", ""),
				done(history.Create, "c", "", "3"), done(history.Unlink, "c", "", ""),
			},
			found: []history.Entry{dir("d"), file("d/b", "2")},
		},
		"a lost file":      {ops: []history.Op{done(history.Create, "a", "", "1")}, lost: 1},
		"a lost directory": {ops: []history.Op{done(history.Mkdir, "d", "", "")}, lost: 1},
		"an unreadable file": {
			ops:   []history.Op{done(history.Create, "a", "", "1")},
			found: []history.Entry{{Path: "a", Err: "input/output error"}}, lost: 1,
		},
		"an unreadable file that nobody was told of": {
			ops:   []history.Op{open(history.Create, "a", "", "1")},
			found: []history.Entry{{Path: "a", Err: "no such device or address"}},
		},
		"an unreadable file with an append that nobody answered": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), open(history.Append, "a", "", "2")},
			found: []history.Entry{{Path: "a", Err: "no such device or address"}}, lost: 1,
		},
		"an altered file": {
			ops:   []history.Op{done(history.Create, "a", "", "1")},
			found: []history.Entry{file("a", "2")}, altered: 1,
		},
		"an undone append": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Append, "a", "", "2")},
			found: []history.Entry{file("a", "1")}, altered: 1,
		},
		"an append that nobody answered, done in part": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), open(history.Append, "a", "", "2")},
			found: []history.Entry{{Path: "a", Hash: "3", Head: "1"}},
		},
		"an append that nobody answered altered what was there": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), open(history.Append, "a", "", "2")},
			found: []history.Entry{{Path: "a", Hash: "3", Head: "4"}}, altered: 1,
		},
		"a failed append to a file that was renamed altered what was there": {
			ops: []history.Op{
				done(history.Create, "b", "", "1"), done(history.Rename, "b", "a", ""), failed(history.Append, "a", "", "2"),
			},
			found: []history.Entry{{Path: "a", Hash: "3", Head: "4"}}, altered: 1,
		},
		"an undone rename": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Rename, "a", "b", "")},
			found: []history.Entry{file("a", "1")}, lost: 1, undone: 1,
		},
		"an undone unlink": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Unlink, "a", "", "")},
			found: []history.Entry{file("a", "1")}, undone: 1,
		},
		"a rename nobody answered happened": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), open(history.Rename, "a", "b", "")},
			found: []history.Entry{file("b", "1")},
		},
		"a rename nobody answered lost the file": {
			ops:  []history.Op{done(history.Create, "a", "", "1"), open(history.Rename, "a", "b", "")},
			lost: 1,
		},
		"failed operations may have happened": {
			ops: []history.Op{
				failed(history.Create, "a", "", "1"), failed(history.Create, "b", "", "1"),
				done(history.Create, "c", "", "1"), open(history.Unlink, "c", "", ""),
			},
			found: []history.Entry{file("b", "0")},
		},
		"overwritten, with an attribute, and renamed": {
			ops: []history.Op{
				done(history.Create, "a", "", "1"), done(history.Xattr, "a", "", "x"), done(history.Overwrite, "a", "", "2"),
				done(history.Rename, "a", "b", ""),
			},
			found: []history.Entry{{Path: "b", Hash: "2", Xattr: "x"}},
		},
		"an undone overwriting": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Overwrite, "a", "", "2")},
			found: []history.Entry{file("a", "1")}, altered: 1,
		},
		"an overwriting that nobody answered altered what is before it": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), {Kind: history.Overwrite, Path: "a", At: 3, Head: "2"}},
			found: []history.Entry{{Path: "a", Hash: "9", Head: "3"}}, altered: 1,
		},
		"an overwriting that nobody answered, done in part": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), {Kind: history.Overwrite, Path: "a", At: 3, Head: "2"}},
			found: []history.Entry{{Path: "a", Hash: "9", Head: "2"}},
		},
		"a lost attribute": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Xattr, "a", "", "x"), done(history.Append, "a", "", "2")},
			found: []history.Entry{file("a", "2")}, altered: 1,
		},
		"an attribute that nobody answered": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Xattr, "a", "", "x"), open(history.Xattr, "a", "", "y")},
			found: []history.Entry{{Path: "a", Hash: "1", Xattr: "y"}},
		},
		"a failed append must not lose the file": {
			ops:  []history.Op{done(history.Create, "a", "", "1"), failed(history.Append, "a", "", "2")},
			lost: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := history.Check(test.ops, test.found)

			require.Len(t, result.Lost, test.lost)
			require.Len(t, result.Altered, test.altered)
			require.Len(t, result.Undone, test.undone)
			require.Equal(t, test.lost+test.altered+test.undone == 0, result.OK())
		})
	}
}

func TestHeads(t *testing.T) {
	sized := func(op history.Op, size int) history.Op {
		op.Size = size

		return op
	}

	require.Equal(t, map[string]int{"a": 10}, history.Heads([]history.Op{
		sized(done(history.Create, "a", "", "1"), 5), sized(done(history.Append, "a", "", "2"), 10), sized(open(history.Append, "a", "", "3"), 15),
		sized(done(history.Create, "b", "", "1"), 5), sized(done(history.Append, "b", "", "2"), 10),
		sized(open(history.Create, "c", "", "1"), 5),
	}))
}

func TestClaims(t *testing.T) {
	second := time.Second.Nanoseconds()
	// Times in seconds, from far enough on that nothing begins before time itself.
	op := func(kind history.Kind, start, end int64, took bool) history.Op {
		return history.Op{Kind: kind, Path: "c", Start: (100 + start) * second, End: (100 + end) * second, Done: true, Took: took}
	}
	claim := func(start, end int64, took bool) history.Op { return op(history.Claim, start, end, took) }
	release := func(start, end int64, took bool) history.Op { return op(history.Release, start, end, took) }
	failed := func(o history.Op) history.Op {
		o.Err, o.Took = "input/output error", false

		return o
	}

	for name, test := range map[string]struct {
		ops   []history.Op
		wrong int
	}{
		"one after another": {ops: []history.Op{claim(0, 1, true), claim(10, 11, false), release(20, 21, true), release(30, 31, false), claim(40, 41, true)}},
		"at the same time":  {ops: []history.Op{claim(0, 10, true), claim(0, 10, false), release(5, 20, true)}},
		"two have it":       {ops: []history.Op{claim(0, 1, true), claim(10, 11, true)}, wrong: 1},
		"of two names":      {ops: []history.Op{claim(0, 1, true), {Kind: history.Claim, Path: "d", Start: 110 * second, End: 111 * second, Done: true, Took: true}}},
		"a lost claim":      {ops: []history.Op{claim(0, 1, true), release(10, 11, false)}, wrong: 1},
		"an undone release": {ops: []history.Op{claim(0, 1, true), release(10, 11, true), claim(20, 21, false)}, wrong: 1},
		"a release that failed may come late": {
			ops: []history.Op{claim(0, 1, true), failed(release(10, 11, true)), claim(20, 21, false), claim(30, 31, true)},
		},
		"or not at all": {ops: []history.Op{claim(0, 1, true), failed(release(10, 11, true)), claim(30, 31, false)}},
		"but not twice": {
			ops: []history.Op{claim(0, 1, true), failed(release(10, 11, true)), claim(20, 21, true), claim(30, 31, true)}, wrong: 1,
		},
		"its answer was lost with the master": {ops: []history.Op{claim(51, 52, false), release(60, 61, true)}},
		"the same without a fault":            {ops: []history.Op{claim(1, 2, false), release(10, 11, true)}, wrong: 1},
		"it was repeated":                     {ops: []history.Op{claim(0, 1, true), release(51, 56, true), claim(53, 54, true), claim(60, 61, true)}},
		"what was before a fault is true after it": {
			ops: []history.Op{claim(0, 1, true), claim(60, 61, true)}, wrong: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, undecided := history.Claims(test.ops, history.Window{From: time.Unix(150, 0), To: time.Unix(155, 0)})

			require.Len(t, wrong, test.wrong)
			require.Zero(t, undecided)
		})
	}
}

// An operation that fails is an error, unless the fault happened meanwhile.
func TestInterrupted(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	fault := history.Window{From: at(10), To: at(11)}

	for name, test := range map[string]struct {
		start, end  time.Time
		interrupted int
	}{
		"before":  {at(8), at(9), 0},
		"across":  {at(9), at(12), 1},
		"within":  {at(10), at(11), 1},
		"ends in": {at(9), at(10), 1},
		"after":   {at(12), at(13), 0},
	} {
		op := failed(history.Create, "a", "", "1")
		op.Start, op.End = test.start.UnixNano(), test.end.UnixNano()

		result := history.Check([]history.Op{op}, nil, fault)
		require.Equal(t, test.interrupted, result.Interrupted, name)
		require.Equal(t, 1-test.interrupted, result.Errors, name)
		require.True(t, result.OK(), name)
	}
}

func TestGap(t *testing.T) {
	at := func(start, end int64) history.Op {
		return history.Op{Kind: history.Create, Start: start, End: end, Done: true}
	}
	ops := []history.Op{at(1, 2), at(2, 3), at(4, 13), at(3, 5), {Kind: history.Create, Start: 5, End: 6, Done: true, Err: "x"}}

	gap, begin := history.LongestGap(ops)

	require.Equal(t, time.Duration(8), gap)
	require.Equal(t, time.Duration(8), history.GapAround(ops, time.Unix(0, 6), time.Unix(0, 20)))
	require.Equal(t, time.Duration(8), history.GapAround(ops, time.Unix(0, 1), time.Unix(0, 20)))
	require.Zero(t, history.GapAround(ops, time.Unix(0, 14), time.Unix(0, 20)))
	require.Equal(t, time.Unix(0, 5), begin)
	require.Equal(t, time.Unix(0, 13), history.FirstAcknowledged(ops, time.Unix(0, 4)))
	require.True(t, history.FirstAcknowledged(ops, time.Unix(0, 14)).IsZero())
	require.Equal(t, time.Duration(2), history.GapAround(ops, time.Unix(0, 1), time.Unix(0, 4)), "only what began before the end")
	require.Len(t, history.Since(ops, time.Unix(0, 6)), 2)
	require.False(t, history.Open(ops, time.Unix(0, 20)))

	hangs := append(ops, history.Op{Kind: history.Create, Start: 5})
	require.True(t, history.Open(hangs, time.Unix(0, 6)))
	require.False(t, history.Open(hangs, time.Unix(0, 5)))
	require.Equal(t, time.Unix(0, 13), history.AcknowledgedAfter(ops, time.Unix(0, 6)))
	require.True(t, history.AcknowledgedAfter(ops, time.Unix(0, 14)).IsZero())
}

// Nobody was kept from anything while all clients were thinking.
func TestAGapBeginsWhenSomebodyWaits(t *testing.T) {
	thinks := []history.Op{
		{Kind: history.Create, Start: 1, Done: true, End: 10},
		{Kind: history.Create, Start: 16, Done: true, End: 18},
	}

	gap, begin := history.LongestGap(thinks)
	require.Equal(t, time.Duration(2), gap)
	require.Equal(t, time.Unix(0, 16), begin)
	require.Equal(t, time.Duration(2), history.GapAround(thinks, time.Unix(0, 9), time.Unix(0, 20)))

	for name, waits := range map[string]history.Op{
		"hangs":              {Kind: history.Create, Start: 12},
		"is told of failure": {Kind: history.Create, Start: 12, Done: true, End: 17, Err: "EIO"},
	} {
		gap, begin = history.LongestGap(append(thinks[:2:2], waits))
		require.Equal(t, time.Duration(6), gap, name)
		require.Equal(t, time.Unix(0, 12), begin, name)
	}
}
