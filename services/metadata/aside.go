package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"antler/services/metadata/files"
)

// Aside saves the metadata of a replica that is not mounted: the side of a split
// brain that is to be given up, which DRBD won't let anybody mount, or one that
// the cluster can't serve from. It reads the disk beneath DRBD, and changes nothing
// there.
type Aside struct {
	// Device is the disk beneath DRBD.
	Device string
	// Data is the data directory as seen from the root of the file system on it.
	Data string
	// Scratch is a directory for the work, which is emptied first.
	Scratch string
	// Backups is where the copy goes.
	Backups string
	// Node is this node's name.
	Node string

	mu sync.Mutex
}

// asideSpare is what stays free on the node's own disk: the memory of the quorum
// is there.
const asideSpare = 256 << 20

// Save returns where the copy is, and how far it goes. The same content is saved
// once.
//
// What was acknowledged last is in the file system's journal, and only there. So
// the disk is copied, the journal of the copy is replayed, and the metadata is read
// from that.
func (a *Aside) Save(ctx context.Context) (files.Source, error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	source, err := a.save(ctx)

	err = errors.Join(err, os.RemoveAll(a.Scratch))
	if err != nil {
		return source, fmt.Errorf("save the metadata on %s: %w", a.Device, err)
	}

	return source, nil
}

// SaveAside implements replication.Saver.
func (a *Aside) SaveAside(ctx context.Context) error {
	_, err := a.Save(ctx)

	return err
}

func (a *Aside) save(ctx context.Context) (files.Source, error) {
	err := os.RemoveAll(a.Scratch)
	if err == nil {
		err = os.MkdirAll(a.Scratch, 0o700)
	}

	if err != nil {
		return files.Source{}, err
	}

	image := filepath.Join(a.Scratch, "image")

	err = copyDisk(ctx, a.Device, image)
	if err != nil {
		return files.Source{}, err
	}

	err = replayJournal(ctx, image)
	if err != nil {
		return files.Source{}, err
	}

	// What it can't find it only mentions: what came of it is looked at.
	err = command(ctx, "debugfs", "-R", fmt.Sprintf("rdump %s %s", a.Data, a.Scratch), image)
	if err != nil {
		return files.Source{}, err
	}

	return a.keep(ctx, filepath.Join(a.Scratch, filepath.Base(a.Data)))
}

// keep puts what a restore needs among the backups.
func (a *Aside) keep(ctx context.Context, data string) (files.Source, error) {
	err := os.MkdirAll(a.Backups, 0o700)
	if err != nil {
		return files.Source{}, err
	}

	unfinished := filepath.Join(a.Backups, ".replica")

	source, err := files.Places{Node: a.Node, Data: data}.CopyReplica(ctx, unfinished)
	if err != nil {
		// What stays is removed by the next attempt.
		_ = os.RemoveAll(unfinished)

		return files.Source{}, err
	}

	name := fmt.Sprintf("replica-%016x-%d", source.ID, source.Version)
	source.Name, source.Path = a.Node+"/backup-"+name, filepath.Join(a.Backups, name)

	err = os.Rename(unfinished, source.Path)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return source, os.RemoveAll(unfinished)
	}

	return source, err
}

// replayJournal of a file system in a file. Exit codes from e2fsck(8): 1 errors
// corrected.
func replayJournal(ctx context.Context, image string) error {
	output, err := exec.CommandContext(ctx, "e2fsck", "-y", "-E", "journal_only", image).CombinedOutput()

	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}

	return fmt.Errorf("replay the journal of the copy: %w: %s", err, bytes.TrimSpace(output))
}

// copyBlock is a multiple of every disk's block.
const copyBlock = 1 << 20

// copyDisk makes a sparse copy. It reads past the kernel's cache, which knows
// nothing of what DRBD has written.
func copyDisk(ctx context.Context, device, image string) error {
	from, err := openDirect(device)
	if err != nil {
		return err
	}
	defer from.Close()

	to, err := os.OpenFile(image, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}

	room, err := roomAt(image)
	if err == nil {
		err = copySparse(ctx, from, to, room-asideSpare)
	}

	return errors.Join(err, to.Close())
}

// openDirect opens a device so that it is read itself; a file has no other reader.
func openDirect(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}

	flags := os.O_RDONLY
	if info.Mode()&fs.ModeDevice != 0 {
		flags |= unix.O_DIRECT
	}

	return os.OpenFile(path, flags, 0)
}

func roomAt(path string) (int64, error) {
	var stat unix.Statfs_t

	err := unix.Statfs(path, &stat)
	if err != nil {
		return 0, fmt.Errorf("look how much room there is for a copy: %w", err)
	}

	return int64(stat.Bavail) * stat.Bsize, nil
}

// copySparse copies blocks that aren't zero, as long as they fit into room.
func copySparse(ctx context.Context, from io.Reader, to *os.File, room int64) error {
	// A direct read wants memory that begins with a page.
	block, err := unix.Mmap(-1, 0, copyBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(block) }()

	zeros := make([]byte, copyBlock)

	for at := int64(0); ; {
		if ctx.Err() != nil {
			return ctx.Err()
		}

		n, err := io.ReadFull(from, block)

		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			room -= int64(n)
			if room < 0 {
				return errors.New("there is no room for a copy of it on the node's own disk: make some below " + filepath.Dir(to.Name()))
			}

			_, writeErr := to.WriteAt(block[:n], at)
			if writeErr != nil {
				return writeErr
			}
		}

		at += int64(n)

		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return to.Truncate(at)
		}

		if err != nil {
			return err
		}
	}
}
