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

func told(kind history.Kind, path, to, err string) history.Op {
	return history.Op{Kind: kind, Path: path, To: to, Done: true, Err: err}
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
		"an altered file": {
			ops:   []history.Op{done(history.Create, "a", "", "1")},
			found: []history.Entry{file("a", "2")}, altered: 1,
		},
		"an undone append": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), done(history.Append, "a", "", "2")},
			found: []history.Entry{file("a", "1")}, altered: 1,
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
		"a repeated create has made the file": {
			ops:   []history.Op{told(history.Create, "a", "", "file exists"), told(history.Mkdir, "d", "", "file exists")},
			found: []history.Entry{file("a", "0"), dir("d")},
		},
		"a repeated create without the file": {
			ops: []history.Op{told(history.Create, "a", "", "file exists")}, lost: 1,
		},
		"a repeated rename has moved the file": {
			ops:   []history.Op{done(history.Create, "a", "", "1"), told(history.Rename, "a", "b", "no such file or directory")},
			found: []history.Entry{file("b", "1")},
		},
		"a rename that found no file": {
			ops:  []history.Op{done(history.Create, "a", "", "1"), told(history.Rename, "a", "b", "no such file or directory")},
			lost: 1,
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

// An unlink that finds nothing right away is no repetition: the file was lost.
func TestRepeatedUnlink(t *testing.T) {
	op := told(history.Unlink, "a", "", "no such file or directory")
	require.False(t, op.Repeated())

	op.End = int64(2 * time.Second)
	require.True(t, op.Repeated())
}

func TestGap(t *testing.T) {
	at := func(start, end int64) history.Op {
		return history.Op{Kind: history.Create, Start: start, End: end, Done: true}
	}
	ops := []history.Op{at(1, 2), at(2, 3), at(4, 13), at(3, 5), {Kind: history.Create, Start: 5, End: 6, Done: true, Err: "x"}}

	gap, begin := history.LongestGap(ops)

	require.Equal(t, time.Duration(8), gap)
	require.Equal(t, time.Unix(0, 5), begin)
	require.Equal(t, time.Unix(0, 13), history.FirstAcknowledged(ops, time.Unix(0, 4)))
	require.True(t, history.FirstAcknowledged(ops, time.Unix(0, 14)).IsZero())
}
