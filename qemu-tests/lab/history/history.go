// Package history is the record of what a client was told, and the check of
// that record against what is there. The workload in the guest writes it, the
// lab on the host reads it.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Kind of operation.
type Kind string

// The operations of the workload. An acknowledged Create, Append or Overwrite is one
// whose fsync and close returned. Claim and Release are of names that all clients share.
const (
	Create    Kind = "create"
	Append    Kind = "append"
	Overwrite Kind = "overwrite"
	Mkdir     Kind = "mkdir"
	Rename    Kind = "rename"
	Unlink    Kind = "unlink"
	Xattr     Kind = "xattr"
	Claim     Kind = "claim"
	Release   Kind = "release"
)

// Op is a call and, once Done, its answer.
type Op struct {
	// ID counts the operations of one run.
	ID     int    `json:"id"`
	Worker int    `json:"worker"`
	Kind   Kind   `json:"kind"`
	Path   string `json:"path"`
	// To is the new path of a Rename.
	To string `json:"to,omitempty"`
	// Hash of the whole content that the file has after a Create, Append or Overwrite, or
	// of the attribute's value after an Xattr.
	Hash string `json:"hash,omitempty"`
	// Size of that content in bytes.
	Size int `json:"size,omitempty"`
	// At is where an Overwrite begins, and Head the Hash of what is before that.
	At   int    `json:"at,omitempty"`
	Head string `json:"head,omitempty"`
	// Took says that a Claim made the name, or that a Release removed it; if it didn't
	// though it was answered, the name was there, or wasn't.
	Took bool `json:"took,omitempty"`
	// Start and End are when the host heard of the call and of its answer, in nanoseconds
	// of its wall clock; the guest leaves them out.
	Start int64 `json:"start,omitempty"`
	End   int64 `json:"end,omitempty"`
	// Done says that the call returned; Err is what it returned.
	Done bool   `json:"done,omitempty"`
	Err  string `json:"err,omitempty"`
}

// Acknowledged reports whether the client was told that the operation is done.
func (o Op) Acknowledged() bool { return o.Done && o.Err == "" }

// Window is when a fault happened; both ends are included.
type Window struct{ From, To time.Time }

// in reports whether the operation was under way in any of the windows.
func (o Op) in(faults []Window) bool {
	for _, w := range faults {
		if o.Start <= w.To.UnixNano() && (o.End == 0 || o.End >= w.From.UnixNano()) {
			return true
		}
	}

	return false
}

// Entry is a file or directory as it is found afterwards.
type Entry struct {
	Path string `json:"path"`
	Dir  bool   `json:"dir,omitempty"`
	Hash string `json:"hash,omitempty"`
	// Head is the Hash of its first bytes, as many as were asked for: see Heads.
	Head string `json:"head,omitempty"`
	// Xattr is the Hash of the value of its attribute Attribute, if it has one.
	Xattr string `json:"xattr,omitempty"`
	// Err says why it couldn't be read.
	Err string `json:"err,omitempty"`
}

// Attribute is the extended attribute that an Xattr sets.
const Attribute = "user.antler"

// Message is one line from the guest: exactly one field is set.
type Message struct {
	Op    *Op    `json:"op,omitempty"`
	Entry *Entry `json:"entry,omitempty"`
	// End of a walk, or of a workload that was stopped.
	End string `json:"end,omitempty"`
}

// Hash of content.
func Hash(content []byte) string {
	sum := sha256.Sum256(content)

	return hex.EncodeToString(sum[:8])
}

// Result of a check.
type Result struct {
	// Acknowledged operations, failed ones, and those never answered.
	Acknowledged, Errors, Open int
	// Interrupted operations were under way when the fault happened, and failed.
	// They are not among the errors. MooseFS keeps no record of the requests it
	// has answered: its client repeats one whose answer was lost with the master,
	// and is told that the file exists. And a chunk that the master had promised
	// and no chunkserver made is lost, with the write that was to fill it.
	Interrupted int
	// Failed are the operations that are counted as Errors.
	Failed []Op
	// Lost, Altered and Undone say what is wrong, one line each.
	Lost, Altered, Undone []string
}

// OK reports whether every acknowledged operation is still true.
func (r Result) OK() bool { return len(r.Lost)+len(r.Altered)+len(r.Undone) == 0 }

// expectation of one path.
type expectation struct {
	dir bool
	// hash and size of the content; any may be there if there is no hash.
	hash string
	size int
	// head: it begins with the content of this hash and of that size.
	head string
	// xattr is the hash of the attribute's value; any may be there if there is none.
	xattr string
	// gone: it must not be there. optional: it may or may not be.
	gone, optional bool
	// or is the other path of a rename nobody answered.
	or string
}

// Check holds what was acknowledged against what was found. Each path is used
// by one worker, and workers run one operation at a time, so the record of a
// path is a sequence.
func Check(ops []Op, found []Entry, faults ...Window) Result {
	result, expected := expect(ops, faults...)
	compare(&result, expected, found)

	return result
}

// Heads are the sizes in bytes of what has to be at the beginning of files of which the
// rest is open: of each file with an append or overwriting that nobody answered, what was
// acknowledged before.
func Heads(ops []Op) map[string]int {
	_, expected := expect(ops)
	sizes := map[string]int{}

	for path, want := range expected {
		if want.head != "" {
			sizes[path] = want.size
		}
	}

	return sizes
}

// expect goes through the record.
func expect(ops []Op, faults ...Window) (Result, map[string]expectation) {
	var result Result

	expected := map[string]expectation{}

	for _, op := range ops {
		switch {
		case op.Acknowledged():
			result.Acknowledged++
			acknowledge(expected, op)
		case op.Done && op.in(faults):
			result.Interrupted++
			doubt(expected, op)
		case op.Done:
			result.Errors++
			result.Failed = append(result.Failed, op)
			doubt(expected, op)
		default:
			result.Open++
			doubt(expected, op)
		}
	}

	return result, expected
}

func acknowledge(expected map[string]expectation, op Op) {
	switch op.Kind {
	case Create:
		expected[op.Path] = expectation{hash: op.Hash, size: op.Size}
	case Append, Overwrite:
		expected[op.Path] = expectation{hash: op.Hash, size: op.Size, xattr: expected[op.Path].xattr}
	case Xattr:
		before := expected[op.Path]
		before.xattr = op.Hash
		expected[op.Path] = before
	case Mkdir:
		expected[op.Path] = expectation{dir: true}
	case Rename:
		expected[op.To] = expected[op.Path]
		expected[op.Path] = expectation{gone: true}
	case Unlink:
		expected[op.Path] = expectation{gone: true}
	}
}

// doubt is an operation that failed or was never answered: it may have
// happened or not. The workload doesn't touch its paths again.
func doubt(expected map[string]expectation, op Op) {
	before := expected[op.Path]

	switch op.Kind {
	case Create, Mkdir, Unlink:
		before.optional, before.hash, before.head, before.xattr = true, "", "", ""
		expected[op.Path] = before
	case Append:
		// Part of it may be there, behind all that was there before.
		before.head, before.hash = before.hash, ""
		expected[op.Path] = before
	case Overwrite:
		before.head, before.size, before.hash = op.Head, op.At, ""
		expected[op.Path] = before
	case Xattr:
		before.xattr = ""
		expected[op.Path] = before
	case Rename:
		before.or = op.To
		expected[op.Path] = before
	}
}

func compare(result *Result, expected map[string]expectation, found []Entry) {
	there := make(map[string]Entry, len(found))
	for _, entry := range found {
		there[entry.Path] = entry
	}

	for path, want := range expected {
		entry, ok := there[path]
		if !ok && want.or != "" {
			entry, ok = there[want.or]
		}

		switch {
		case want.gone && ok:
			result.Undone = append(result.Undone, path+": is there again")
		case want.gone, want.optional && !ok:
		case !ok:
			result.Lost = append(result.Lost, path+": is missing")
		case entry.Err != "" && want.optional:
			// Nobody was told that it is there, so nobody was told that it can be read.
		case entry.Err != "":
			result.Lost = append(result.Lost, path+": can't be read: "+entry.Err)
		case entry.Dir != want.dir && !want.optional:
			result.Altered = append(result.Altered, path+": is of another type")
		case want.hash != "" && entry.Hash != want.hash:
			result.Altered = append(result.Altered, fmt.Sprintf("%s: content %s, want %s", path, entry.Hash, want.hash))
		case want.head != "" && entry.Head != want.head:
			result.Altered = append(result.Altered, fmt.Sprintf("%s: begins with %s, want %s", path, entry.Head, want.head))
		case want.xattr != "" && entry.Xattr != want.xattr:
			result.Altered = append(result.Altered, fmt.Sprintf("%s: attribute %s, want %s", path, entry.Xattr, want.xattr))
		}
	}
}

// LongestGap returns the longest time between two acknowledgements in which a client
// waited and none was told anything, and when it began.
func LongestGap(ops []Op) (time.Duration, time.Time) {
	var (
		last, begin int64
		longest     time.Duration
	)

	for _, end := range acknowledgedAt(ops) {
		if last != 0 {
			if from := waitedFrom(ops, last, end); time.Duration(end-from) > longest {
				longest, begin = time.Duration(end-from), from
			}
		}

		last = end
	}

	return longest, time.Unix(0, begin)
}

// waitedFrom is when somebody first waited for an answer, of the time from one
// acknowledgement to the next: before that all clients were thinking.
func waitedFrom(ops []Op, from, to int64) int64 {
	first := to

	for _, op := range ops {
		if op.Start < first && (!op.Done || op.End > from) {
			first = op.Start
		}
	}

	return max(from, first)
}

// LongestOp returns how long the slowest acknowledged operation took.
func LongestOp(ops []Op) time.Duration {
	var longest time.Duration

	for _, op := range ops {
		if op.Acknowledged() {
			longest = max(longest, time.Duration(op.End-op.Start))
		}
	}

	return longest
}
