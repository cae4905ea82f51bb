package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"antler/qemu-tests/lab/history"
)

// counter numbers the operations of all workers.
type counter struct{ n atomic.Int64 }

func (c *counter) next() int { return int(c.n.Add(1)) }

// failurePause keeps a client that gets nothing but errors from filling the
// record with them.
const failurePause = 100 * time.Millisecond

// file is one that the worker created and was told so.
type file struct {
	path    string
	content []byte
}

// worker does one operation after another in a directory of its own. A path
// whose operation failed is never touched again, so that the check can tell
// what may be there.
type worker struct {
	host   *host
	root   string
	number int
	// mixed: the worker does all that it can, and not only what is quick.
	mixed  bool
	ids    *counter
	random *rand.Rand

	dir   string
	files []file
}

func newWorker(h *host, root string, seed uint64, number int, ids *counter, mixed bool) *worker {
	return &worker{
		host: h, root: root, number: number, ids: ids, mixed: mixed,
		random: rand.New(rand.NewPCG(seed, uint64(number))),
	}
}

// run works until it is stopped. After each operation it thinks as long as that took,
// but no longer than think.
func (w *worker) run(stopped <-chan struct{}, think time.Duration) {
	w.mkdir()

	for pause := time.Duration(0); !over(stopped, pause); {
		begin := time.Now()
		w.step()
		pause = min(time.Since(begin), think)
	}
}

// over reports whether the workers were stopped, within the pause.
func over(stopped <-chan struct{}, pause time.Duration) bool {
	if pause == 0 {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	}

	select {
	case <-stopped:
		return true
	case <-time.After(pause):
		return false
	}
}

// step is mostly a new file; each other operation needs one that is there.
func (w *worker) step() {
	if w.mixed && w.random.IntN(4) == 0 {
		w.rarer()

		return
	}

	choice := w.random.IntN(20)

	switch {
	case choice == 0 || w.dir == "":
		w.mkdir()
	case choice < 4 && len(w.files) > 8:
		w.rename()
	case choice < 6 && len(w.files) > 8:
		w.unlink()
	case choice < 8 && len(w.files) > 8:
		w.append()
	default:
		w.create()
	}
}

// rarer is what a mixed load has besides.
func (w *worker) rarer() {
	choice := w.random.IntN(10)

	switch {
	case choice < 2 && len(w.files) > 8:
		w.overwrite()
	case choice < 4 && len(w.files) > 8:
		w.xattr()
	case choice < 5 && w.dir != "":
		w.createLarge()
	default:
		w.claim(choice%2 == 0)
	}
}

// call tells the host of the call, makes it, and tells the answer.
func (w *worker) call(op *history.Op, do func() error) bool {
	op.ID, op.Worker = w.ids.next(), w.number
	_ = w.host.tell(history.Message{Op: op})

	err := do()

	op.Done = true
	if err != nil {
		op.Err = err.Error()
	}

	_ = w.host.tell(history.Message{Op: op})

	if err != nil {
		// A mount that is gone answers at once, forever.
		time.Sleep(failurePause)
	}

	return err == nil
}

func (w *worker) mkdir() {
	dir := fmt.Sprintf("w%d-d%d", w.number, w.random.Uint32())
	op := history.Op{Kind: history.Mkdir, Path: dir}

	if w.call(&op, func() error { return os.Mkdir(filepath.Join(w.root, dir), 0o755) }) {
		w.dir = dir
	}
}

func (w *worker) create() {
	path := filepath.Join(w.dir, fmt.Sprintf("f%08x", w.random.Uint32()))

	if content := w.bytes(1 + w.random.IntN(4096)); w.made(path, content) {
		w.files = append(w.files, file{path, content})
	}
}

// createLarge makes one of several blocks (of 64 KiB), which nobody touches again.
func (w *worker) createLarge() {
	w.made(filepath.Join(w.dir, fmt.Sprintf("l%08x", w.random.Uint32())), w.bytes(64<<10+w.random.IntN(448<<10)))
}

func (w *worker) made(path string, content []byte) bool {
	op := history.Op{Kind: history.Create, Path: path, Hash: history.Hash(content), Size: len(content)}

	if w.call(&op, func() error { return w.write(path, os.O_CREATE|os.O_EXCL, 0, content) }) {
		return true
	}

	// As a program would that cleans up behind itself. Whether the file is there
	// is open in any case. Truncated, since a chunk that was promised and never
	// made would go to the trash with the file: docs/limits.md.
	_ = os.Truncate(filepath.Join(w.root, path), 0)
	_ = os.Remove(filepath.Join(w.root, path))

	return false
}

func (w *worker) append() {
	f := w.take()
	more := w.bytes(1 + w.random.IntN(2048))
	content := append(append([]byte(nil), f.content...), more...)
	op := history.Op{Kind: history.Append, Path: f.path, Hash: history.Hash(content), Size: len(content)}

	if w.call(&op, func() error { return w.write(f.path, os.O_APPEND, 0, more) }) {
		w.files = append(w.files, file{f.path, content})
	}
}

func (w *worker) overwrite() {
	f := w.take()
	at := w.random.IntN(len(f.content))
	with := w.bytes(1 + w.random.IntN(min(2048, len(f.content)-at)))
	content := slices.Concat(f.content[:at], with, f.content[at+len(with):])
	op := history.Op{Kind: history.Overwrite, Path: f.path, Hash: history.Hash(content), Size: len(content), At: at}

	if at > 0 {
		op.Head = history.Hash(content[:at])
	}

	if w.call(&op, func() error { return w.write(f.path, 0, int64(at), with) }) {
		w.files = append(w.files, file{f.path, content})
	}
}

func (w *worker) xattr() {
	f, value := w.take(), w.bytes(1+w.random.IntN(64))
	op := history.Op{Kind: history.Xattr, Path: f.path, Hash: history.Hash(value)}

	if w.call(&op, func() error { return unix.Setxattr(filepath.Join(w.root, f.path), history.Attribute, value, 0) }) {
		w.files = append(w.files, f)
	}
}

// sharedNames that all clients of a file system claim and release.
const sharedNames = 4

// sharedDir is where they are.
func sharedDir(root string) string { return filepath.Join(filepath.Dir(root), "shared") }

func (w *worker) claim(release bool) {
	name := fmt.Sprintf("c%d", w.random.IntN(sharedNames))
	path := filepath.Join(sharedDir(w.root), name)
	op := history.Op{Kind: history.Claim, Path: name}
	do, answered := func() error {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}

		return f.Close()
	}, fs.ErrExist

	if release {
		op.Kind, do, answered = history.Release, func() error { return os.Remove(path) }, fs.ErrNotExist
	}

	w.call(&op, func() error {
		err := do()
		op.Took = err == nil

		// Without its mount a client is told that nothing is there.
		_, mounted := os.Stat(sharedDir(w.root))
		if errors.Is(err, answered) && mounted == nil {
			return nil
		}

		return err
	})
}

func (w *worker) rename() {
	f := w.take()
	to := filepath.Join(w.dir, fmt.Sprintf("r%08x", w.random.Uint32()))
	op := history.Op{Kind: history.Rename, Path: f.path, To: to}

	if w.call(&op, func() error { return os.Rename(filepath.Join(w.root, f.path), filepath.Join(w.root, to)) }) {
		w.files = append(w.files, file{to, f.content})
	}
}

func (w *worker) unlink() {
	f := w.take()
	op := history.Op{Kind: history.Unlink, Path: f.path}

	w.call(&op, func() error { return os.Remove(filepath.Join(w.root, f.path)) })
}

// take removes a file from the list: it comes back when the operation on it
// is acknowledged.
func (w *worker) take() file {
	i := w.random.IntN(len(w.files))
	f := w.files[i]
	w.files = append(w.files[:i], w.files[i+1:]...)

	return f
}

func (w *worker) write(path string, flags int, at int64, content []byte) error {
	f, err := os.OpenFile(filepath.Join(w.root, path), os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}

	_, err = f.Seek(at, io.SeekStart)
	if err == nil {
		_, err = f.Write(content)
	}

	if err == nil {
		err = f.Sync()
	}

	closeErr := f.Close()
	if err == nil {
		err = closeErr
	}

	return err
}

func (w *worker) bytes(n int) []byte {
	content := make([]byte, (n+7)&^7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(content[i:], w.random.Uint64())
	}

	return content[:n:n]
}
