package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"antler/services/node/config"
)

// Options say what to write and where.
type Options struct {
	// Image is the path of the image, packed (.img.xz) or not.
	Image string
	// Config is the path of the node's configuration; without one the person puts
	// antler.yaml on the boot partition later.
	Config string
	// Target is a disk, or a file to make.
	Target string
	// Size of a file, in bytes; 0 for the image's own.
	Size int64
	// Erase what is on the target.
	Erase bool
	// Now is the time at which the configuration's certificates must be valid.
	Now time.Time
	// Progress is told how far writing and reading back have come, in bytes.
	Progress func(step string, done, total int64)
}

// Steps that Progress is told of.
const (
	Writing   = "writing"
	Verifying = "verifying"
)

// Result is what was written.
type Result struct {
	// Node of the configuration, "" without one.
	Node string
	// Bytes of the image.
	Bytes int64
}

// Write checks everything, writes, and reads back.
func Write(ctx context.Context, options Options) (Result, error) { return write(ctx, "/", options) }

func write(ctx context.Context, root string, o Options) (Result, error) {
	raw, node, err := readConfig(o.Config, o.Now)
	if err != nil {
		return Result{}, err
	}

	img, err := openImage(o.Image)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = img.close() }()

	to, err := inspect(root, o.Target, img.size, o.Size, o.Erase)
	if err != nil {
		return Result{}, err
	}

	scratch, err := os.CreateTemp("", "antler-boot-")
	if err != nil {
		return Result{}, err
	}

	// It holds the node's keys: it has no name from here on.
	defer scratch.Close()

	err = os.Remove(scratch.Name())
	if err != nil {
		return Result{}, err
	}

	from, err := img.reader(raw, scratch)
	if err != nil {
		return Result{}, err
	}

	job := job{ctx: ctx, target: to, total: img.size, progress: o.Progress}

	return Result{Node: node, Bytes: img.size}, job.run(from)
}

// readConfig reads a node's configuration and validates it as the node will.
func readConfig(path string, now time.Time) (raw []byte, node string, err error) {
	if path == "" {
		return nil, "", nil
	}

	cfg, err := config.LoadFile(path, now)
	if err != nil {
		return nil, "", err
	}

	raw, err = os.ReadFile(path)

	return raw, cfg.Node.Name, err
}

// job is one image on its way.
type job struct {
	ctx      context.Context
	target   *target
	total    int64
	progress func(step string, done, total int64)
}

func (j job) run(from io.Reader) error {
	flags := os.O_RDWR
	if j.target.disk {
		// The kernel refuses this for a disk that somebody has begun to use since
		// it was looked at.
		flags |= unix.O_EXCL
	} else {
		flags |= os.O_CREATE | os.O_TRUNC
	}

	f, err := os.OpenFile(j.target.path, flags, 0o600)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is in use: unmount it first, if it is the right disk", j.target.path)
	}

	if err != nil {
		return fmt.Errorf("open %s for writing: %w", j.target.path, err)
	}
	defer f.Close()

	sum, err := j.write(f, from)
	if err != nil {
		return fmt.Errorf("write to %s: %w: what is on it now does not start: write it again", j.target.path, err)
	}

	return j.verify(f, sum)
}

const block = 4 << 20

// write copies the image and returns the sum of what was to be written. In a new
// file zeros are left out: they are there already.
func (j job) write(f *os.File, from io.Reader) ([]byte, error) {
	sum, buffer := sha256.New(), make([]byte, block)

	for at := int64(0); at < j.total; {
		if err := j.ctx.Err(); err != nil {
			return nil, err
		}

		n, err := io.ReadFull(from, buffer[:min(block, j.total-at)])
		if err != nil {
			return nil, fmt.Errorf("read the image: %w", err)
		}

		sum.Write(buffer[:n])

		if j.target.disk || !zero(buffer[:n]) {
			_, err = f.WriteAt(buffer[:n], at)
			if err != nil {
				return nil, err
			}
		}

		at += int64(n)
		j.progress(Writing, at, j.total)
	}

	if !j.target.disk {
		if err := f.Truncate(j.target.size); err != nil {
			return nil, err
		}
	}

	// All that a card says before this is what it means to do.
	return sum.Sum(nil), f.Sync()
}

// verify reads back from the card, and not from memory.
func (j job) verify(f *os.File, want []byte) error {
	forget(f, j.target.disk)

	sum, buffer := sha256.New(), make([]byte, block)

	for at := int64(0); at < j.total; {
		if err := j.ctx.Err(); err != nil {
			return fmt.Errorf("read %s back: %w", j.target.path, err)
		}

		n, err := f.ReadAt(buffer[:min(block, j.total-at)], at)
		if err != nil {
			return fmt.Errorf("read %s back: %w: the card is damaged", j.target.path, err)
		}

		sum.Write(buffer[:n])
		at += int64(n)
		j.progress(Verifying, at, j.total)
	}

	if !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("%s does not hold what was written to it: the card is damaged, or has less room than it says", j.target.path)
	}

	return nil
}

// forget drops what the kernel remembers of a file. Where it can't, the check is
// worth less, and that is all.
func forget(f *os.File, disk bool) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)

	if disk {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0)
	}
}

// zero compares the block with itself, one byte on: as quick as the memory is.
func zero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
