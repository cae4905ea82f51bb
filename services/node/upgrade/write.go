package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"antler/image/slots"
	"antler/image/verity"
)

// System is what comes: the root, then the kernel, then the initrd.
type System struct {
	// Arguments of the kernel; the hash of the root is among them.
	Arguments                        string
	RootSize, KernelSize, InitrdSize int64
	KernelSHA256, InitrdSHA256       []byte
}

// Steps that a Progress is told of.
const (
	Writing   = "writing"
	Verifying = "verifying"
)

// Progress is told how far a step has come, in bytes.
type Progress func(step string, done, total int64)

// ErrRefused is in errors about what is asked for and not about the card: nothing
// was written.
var ErrRefused = errors.New("nothing was changed")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, args...), ErrRefused)
}

// limit of kernel and initrd in bytes: the room that the boot loader has for them.
const limit = 64 << 20

// check returns the root that the arguments name.
func (s System) check() (verity.Root, error) {
	_, err := slots.ParseEntry(slots.Entry(s.Arguments))
	if err != nil {
		return verity.Root{}, refused("the new system: %w", err)
	}

	root, err := verity.Parse(s.Arguments)
	if err != nil {
		return verity.Root{}, refused("the new system: %w", err)
	}

	if s.RootSize != root.Size() {
		return verity.Root{}, refused("the new system's root has %d bytes, and its hash is of %d", s.RootSize, root.Size())
	}

	if s.KernelSize <= 0 || s.KernelSize > limit || s.InitrdSize <= 0 || s.InitrdSize > limit/4 {
		return verity.Root{}, refused("the new system's kernel has %d bytes and its initrd %d, which the boot loader has no room for", s.KernelSize, s.InitrdSize)
	}

	return root, nil
}

func (s System) total() int64 { return s.RootSize + s.KernelSize + s.InitrdSize }

// ReadState returns what the boot loader will read.
func ReadState(card Card) (slots.State, error) {
	var state slots.State

	err := card.Read(slots.StateFile, func(r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, slots.StateSize))
		state = slots.ParseState(data)

		return err
	})
	if err != nil {
		return slots.State{}, fmt.Errorf("read %s of the boot partition: %w", slots.StateFile, err)
	}

	return state, nil
}

// Write puts the system that data holds into the slot that is not the running one,
// and has it tried at the next start. It returns that slot. After an error the node
// starts as it did.
func Write(ctx context.Context, card Card, started slots.Started, system System, data io.Reader, progress Progress) (string, error) {
	root, err := system.check()
	if err != nil {
		return "", err
	}

	state, err := ReadState(card)
	if err != nil {
		return "", err
	}

	if started.Trial && state.Slot != started.Slot {
		return "", refused("the system that runs is on trial: wait until it has made up its mind, or restart the node")
	}

	job := job{ctx: ctx, card: card, slot: slots.Other(started.Slot), system: system, data: data, progress: progress}

	return job.slot, job.run(state, started.Slot, root)
}

// job is one system on its way into a slot.
type job struct {
	ctx      context.Context
	card     Card
	slot     string
	system   System
	data     io.Reader
	progress Progress
	done     int64
}

// run takes the steps of the package's description in their order.
func (j *job) run(state slots.State, running string, root verity.Root) error {
	// Where the slot to start is damaged, the boot loader took the other one: that
	// is the one to keep.
	keep := slots.State{Slot: running}
	if state != keep {
		err := j.card.Overwrite(slots.StateFile, keep.Bytes())
		if err != nil {
			return j.failed("have the running slot started, and none tried", err)
		}
	}

	// The entry goes first, and makes what follows harmless.
	for _, name := range []string{slots.EntryFile, slots.Kernel, slots.Initrd} {
		err := j.card.Remove(j.file(name))
		if err != nil {
			return j.failed("empty it", err)
		}
	}

	err := j.writeRoot(root)
	if err != nil {
		return j.failed("write its root", err)
	}

	err = j.writeFile(slots.Kernel, j.system.KernelSize, j.system.KernelSHA256)
	if err != nil {
		return j.failed("write its kernel", err)
	}

	err = j.writeFile(slots.Initrd, j.system.InitrdSize, j.system.InitrdSHA256)
	if err != nil {
		return j.failed("write its initrd", err)
	}

	err = j.card.Write(j.file(slots.EntryFile), bytes.NewReader(slots.Entry(j.system.Arguments)))
	if err != nil {
		return j.failed("write its entry", err)
	}

	err = j.card.Overwrite(slots.StateFile, slots.State{Slot: running, Try: j.slot}.Bytes())
	if err != nil {
		return j.failed("have it tried", err)
	}

	return nil
}

func (j *job) failed(doing string, err error) error {
	return fmt.Errorf("slot %s: %s: %w (this node goes on with what it has: try again)", j.slot, doing, err)
}

func (j *job) file(name string) string { return j.slot + "/" + name }

const (
	// piece is what is read and written at a time.
	piece = 1 << 20
	// flushEvery bounds what waits in memory for a slow card while others of this
	// node want their writes done.
	flushEvery = 16 << 20
)

func (j *job) writeRoot(want verity.Root) error {
	root, err := j.card.OpenRoot(j.slot)
	if err != nil {
		return err
	}
	defer root.Close()

	room, err := root.Size()
	if err != nil {
		return err
	}

	if room < j.system.RootSize {
		return fmt.Errorf("the slot has room for %d MiB, and the system has %d: write the card anew", room>>20, j.system.RootSize>>20)
	}

	buffer := make([]byte, piece)

	for at := int64(0); at < j.system.RootSize; {
		n, err := j.read(buffer[:min(piece, j.system.RootSize-at)])
		if err != nil {
			return err
		}

		_, err = root.WriteAt(buffer[:n], at)
		if err != nil {
			return err
		}

		at += int64(n)

		if at%flushEvery == 0 || at == j.system.RootSize {
			err = root.Flush()
			if err != nil {
				return err
			}
		}

		j.progress(Writing, j.done, j.system.total())
	}

	return j.verifyRoot(root, want)
}

// read fills the buffer from what comes.
func (j *job) read(buffer []byte) (int, error) {
	n, err := io.ReadFull(j.data, buffer)
	j.done += int64(n)

	if err != nil {
		return n, fmt.Errorf("the new system ends after %d of %d bytes: %w", j.done, j.system.total(), err)
	}

	return n, j.ctx.Err()
}

func (j *job) verifyRoot(root Root, want verity.Root) error {
	from := &counter{r: io.NewSectionReader(root, 0, j.system.RootSize), job: j}

	err := verity.Check(bufio.NewReaderSize(from, piece), want)
	if err != nil {
		return fmt.Errorf("read it back: %w: it was damaged on its way, or the card is", err)
	}

	return nil
}

// counter tells of progress in reading back.
type counter struct {
	r    io.Reader
	job  *job
	done int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	c.job.progress(Verifying, c.done, c.job.system.RootSize)

	if err == nil {
		err = c.job.ctx.Err()
	}

	return n, err
}

func (j *job) writeFile(name string, size int64, sum []byte) error {
	err := j.card.Write(j.file(name), &exactly{job: j, left: size})
	if err != nil {
		return err
	}

	hash := sha256.New()

	err = j.card.Read(j.file(name), func(r io.Reader) error {
		_, err := io.Copy(hash, r)

		return err
	})
	if err != nil {
		return fmt.Errorf("read it back: %w", err)
	}

	if !bytes.Equal(hash.Sum(nil), sum) {
		return errors.New("what is read back is not what was to be written: it was damaged on its way, or the card is")
	}

	return nil
}

// exactly is the next bytes of what comes, and an error if there are fewer.
type exactly struct {
	job  *job
	left int64
}

// Read implements io.Reader.
func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}

	n, err := e.job.read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	e.job.progress(Writing, e.job.done, e.job.system.total())

	return n, err
}
