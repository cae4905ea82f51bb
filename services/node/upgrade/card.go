package upgrade

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"antler/services/node/bootconfig"
)

// Card is what an upgrade writes to. What a call did is on the card, and not only
// in memory, when it returns.
type Card interface {
	// Read a file of the boot partition; fs.ErrNotExist if it isn't there.
	Read(name string, into func(io.Reader) error) error
	// Write a file of the boot partition anew.
	Write(name string, from io.Reader) error
	// Overwrite a small file in place: it is as it was or as it becomes.
	Overwrite(name string, content []byte) error
	// Remove a file of the boot partition, if it is there.
	Remove(name string) error
	// OpenRoot opens the root of a slot, and fails if that is in use.
	OpenRoot(slot string) (Root, error)
}

// Root is the partition with a slot's root.
type Root interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
	// Size in bytes.
	Size() (int64, error)
	// Flush puts what was written on the card, and forgets it, so that it is read
	// from there.
	Flush() error
}

// HostCard is the card that the node was started from.
type HostCard struct {
	// Boot calls do with the directory on which the boot partition is mounted,
	// writable if that is asked for, and unmounts it.
	Boot func(writable bool, do func(dir string) error) error
	// Device of a slot's root.
	Device func(slot string) string
}

// NewHostCard returns the card whose partitions image/init has left links to in the
// directory run.
func NewHostCard(run string) HostCard {
	return HostCard{
		Boot: func(writable bool, do func(dir string) error) error {
			return bootconfig.Mount(filepath.Join(run, "boot-partition"), filepath.Join(run, "boot-upgrade"), func(p bootconfig.Partition) error {
				if writable {
					err := p.MakeWritable()
					if err != nil {
						return err
					}
				}

				return do(p.Dir())
			})
		},
		Device: func(slot string) string { return filepath.Join(run, "slot-"+slot) },
	}
}

// Read implements Card. What was written before is not in memory any more: the
// partition was unmounted since.
func (c HostCard) Read(name string, into func(io.Reader) error) error {
	return c.Boot(false, func(dir string) error {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer f.Close()

		return into(f)
	})
}

// Write implements Card.
func (c HostCard) Write(name string, from io.Reader) error {
	return c.Boot(true, func(dir string) error {
		path := filepath.Join(dir, name)

		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err != nil {
			return err
		}

		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()

		_, err = io.CopyBuffer(struct{ io.Writer }{f}, from, make([]byte, piece))
		if err != nil {
			return err
		}

		return errors.Join(f.Sync(), syncDir(dir))
	})
}

// Overwrite implements Card. A file of the same size keeps its place, and one of
// one sector is one write.
func (c HostCard) Overwrite(name string, content []byte) error {
	missing := false

	err := c.Boot(true, func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		if err != nil {
			missing = errors.Is(err, fs.ErrNotExist)

			return err
		}
		defer f.Close()

		info, err := f.Stat()
		if err != nil {
			return err
		}

		if info.Size() != int64(len(content)) {
			return fmt.Errorf("%s has %d bytes and not %d: somebody edited it: write the card anew", name, info.Size(), len(content))
		}

		_, err = f.WriteAt(content, 0)

		return errors.Join(err, f.Sync())
	})
	if missing {
		return fmt.Errorf("%s is gone from the boot partition: write the card anew", name)
	}

	return err
}

// Remove implements Card.
func (c HostCard) Remove(name string) error {
	return c.Boot(true, func(dir string) error {
		err := os.Remove(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}

		return syncDir(dir)
	})
}

// syncDir puts the whole file system on the card.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()

	return unix.Syncfs(int(f.Fd()))
}

// OpenRoot implements Card.
func (c HostCard) OpenRoot(slot string) (Root, error) {
	// The kernel refuses O_EXCL for a partition that is in use: the running
	// system can't be written over, whatever is wrong here.
	f, err := os.OpenFile(c.Device(slot), os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return nil, err
	}

	return partition{f}, nil
}

type partition struct{ *os.File }

// Size implements Root.
func (p partition) Size() (int64, error) { return p.Seek(0, io.SeekEnd) }

// Flush implements Root.
func (p partition) Flush() error {
	err := p.Sync()
	// Where the kernel can't forget, the check is worth less, and that is all.
	_ = unix.IoctlSetInt(int(p.Fd()), unix.BLKFLSBUF, 0)
	_ = unix.Fadvise(int(p.Fd()), 0, 0, unix.FADV_DONTNEED)

	return err
}
