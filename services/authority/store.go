package authority

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// logFile is Raft's log in the store's directory; snapshots lie beside it.
const logFile = "raft.db"

// replaceAdvice ends every error about a store that can't be used.
const replaceAdvice = `this node doesn't vote; the others go on. Its replica and chunks are not affected. To let it vote again, a person takes it out of the cluster and back in with a new store: "antlerctl node replace"`

// store is a voter's memory: Raft's log and votes, and snapshots of the record.
type store struct {
	log       *raftboltdb.BoltStore
	snapshots *raft.FileSnapshotStore
}

// openStore opens the store in dir, after having read all of it.
//
// What that finds: a file that was cut short, pages that aren't what the page
// above them says, log entries that are missing or whose command was changed
// (their checksum). What it can't find: a changed term or vote, which have no
// checksum. A disk that fails later, while the log is mapped into memory, ends
// antlerd; the next start finds it.
func openStore(dir string, logger hclog.Logger) (s store, err error) {
	defer catchFault(&err, "read the Raft store in "+dir)()

	path := filepath.Join(dir, logFile)
	if err := checkLog(path); err != nil {
		return store{}, fmt.Errorf("check the Raft log %s: %w: %s", path, err, replaceAdvice)
	}

	log, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: time.Second}})
	if err != nil {
		return store{}, fmt.Errorf("open the Raft log %s: %w: %s", path, err, replaceAdvice)
	}

	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, logger)
	if err != nil {
		return store{}, errors.Join(fmt.Errorf("open the Raft snapshots in %s: %w: %s", dir, err, replaceAdvice), log.Close())
	}

	return store{log, snapshots}, nil
}

func (s store) close() error {
	if s.log == nil {
		return nil
	}

	return s.log.Close()
}

// catchFault turns a panic of bbolt, or the fault of reading past the end of a
// mapped file, into an error. Use: defer catchFault(&err, doing)().
func catchFault(err *error, doing string) func() {
	before := debug.SetPanicOnFault(true)

	return func() {
		debug.SetPanicOnFault(before)

		if r := recover(); r != nil {
			*err = fmt.Errorf("%s: its content makes no sense: %v: %s", doing, r, replaceAdvice)
		}
	}
}

// checkLog reads the whole log without changing it.
func checkLog(path string) error {
	// An empty file is made into a new log, as a missing one; whether this node
	// may start with one is seen later (bootstrap.go).
	if info, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}

	err := inspect(path, false, func(tx *bbolt.Tx) error {
		if err := checkSize(path, tx.Size()); err != nil {
			return err
		}

		return walk(tx)
	})

	// Of a file that is all there: then its list of free pages can be read as well,
	// in this goroutine, as walk says.
	if err == nil {
		err = inspect(path, true, checkPages)
	}

	if err != nil {
		return err
	}

	return checkEntries(path)
}

// inspect lets look at the log without changing it.
func inspect(path string, freePages bool, look func(*bbolt.Tx) error) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: freePages, Timeout: time.Second})
	if err != nil {
		return err
	}

	// Not deferred: after a panic in a transaction, Close would wait for it.
	err = db.View(look)

	return errors.Join(err, db.Close())
}

// checkPages is bbolt's own check, to its end: it goes on reading the file after what
// it has found, and must not when that is closed.
func checkPages(tx *bbolt.Tx) error {
	var found error
	for err := range tx.Check() {
		found = cmp.Or(found, err)
	}

	return found
}

// checkSize finds a file that was cut short before a page past its end is read.
func checkSize(path string, want int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}

	if info.Size() < want {
		return fmt.Errorf("it has %d bytes and should have %d", info.Size(), want)
	}

	return nil
}

// walk touches every page in this goroutine, where a fault is caught: Check
// does so in one of its own, where it would end the process.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}

// checkEntries decodes every entry.
func checkEntries(path string) error {
	log, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	if err != nil {
		return err
	}

	first, firstErr := log.FirstIndex()
	last, lastErr := log.LastIndex()

	if err := errors.Join(firstErr, lastErr); err != nil {
		return err
	}

	for i := first; i <= last && last > 0; i++ {
		if err := checkEntry(log, i); err != nil {
			return fmt.Errorf("entry %d of %d to %d: %w", i, first, last, err)
		}
	}

	return log.Close()
}

func checkEntry(log raft.LogStore, index uint64) error {
	var entry raft.Log
	if err := log.GetLog(index, &entry); err != nil {
		return err
	}

	if entry.Index != index {
		return fmt.Errorf("it says it is entry %d", entry.Index)
	}

	if entry.Type == raft.LogConfiguration {
		raft.DecodeConfiguration(entry.Data) // panics, see catchFault
	}

	if entry.Type != raft.LogCommand {
		return nil
	}

	// A command of a later version is fine here, a broken one isn't.
	if _, err := DecodeCommand(entry.Data); errors.Is(err, ErrMalformed) {
		return err
	}

	return nil
}
