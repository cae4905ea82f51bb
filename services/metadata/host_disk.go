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
	"time"

	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/metadata/files"
	"antler/services/node/config"
)

// HostDisk is Disk with the tools and system calls of this host.
type HostDisk struct{}

// HasFileSystem implements Disk.
func (HostDisk) HasFileSystem(device string) (bool, error) {
	file, err := os.Open(device)
	if err != nil {
		return false, fmt.Errorf("look for a file system: %w", err)
	}
	defer file.Close()

	super, err := readSuperblock(file)
	if err != nil {
		return false, fmt.Errorf("look for a file system on %s: %w", device, err)
	}

	return super.ext4, nil
}

// marked reports whether the kernel has seen a fault of the file system.
func marked(device string) (bool, error) {
	file, err := os.Open(device)
	if err != nil {
		return false, fmt.Errorf("look at the file system: %w", err)
	}
	defer file.Close()

	super, err := readSuperblock(file)
	if err != nil {
		return false, fmt.Errorf("look at the file system on %s: %w", device, err)
	}

	return super.faulty, nil
}

// Format implements Disk. The journal is small, since each commit of it is
// replicated and a takeover replays it; inode tables are written at once, for
// the same reason.
func (HostDisk) Format(ctx context.Context, device string) error {
	err := beginsBlank(device)
	if err != nil {
		return err
	}

	return command(ctx, "mkfs.ext4", "-q", "-L", "antler-meta", "-m", "0", "-J", "size=8",
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-N", "4096", device)
}

// beginsBlank is the last look before a file system is made: a replica has been
// blank from its creation until then, so anything at its beginning is data.
func beginsBlank(device string) error {
	file, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("look at %s before it is formatted: %w", device, err)
	}
	defer file.Close()

	content := make([]byte, 1<<20)

	n, err := file.ReadAt(content, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("look at %s before it is formatted: %w", device, err)
	}

	if len(bytes.Trim(content[:n], "\x00")) > 0 {
		return fmt.Errorf("format %s: it holds something that is no file system of ours, so nothing is written to it: if it is not needed, take the replica's disk out of service and blank it", device)
	}

	return nil
}

// mountOptions: a failing device must stop the master, not turn read-only
// beneath it; nobody needs access times.
const (
	mountFlags   = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	mountOptions = "errors=remount-ro"
)

// Mount implements Disk. The kernel replays the journal; a file system that it
// marked faulty goes through e2fsck first.
func (d HostDisk) Mount(ctx context.Context, device string) error {
	err := os.MkdirAll(config.MetadataPath, 0o755)
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}

	err = check(ctx, device)
	if err != nil {
		return err
	}

	err = unix.Mount(device, config.MetadataPath, "ext4", mountFlags, mountOptions)
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", device, config.MetadataPath, err)
	}

	return nil
}

// check runs e2fsck -p where the kernel has marked the file system as faulty. A
// journal that has to be replayed is no fault, and mounting replays it: without a
// reason the program is not worth the time it takes to start. Exit codes from
// e2fsck(8): 1 errors corrected.
func check(ctx context.Context, device string) error {
	faulty, err := marked(device)
	if err != nil || !faulty {
		return err
	}

	output, err := exec.CommandContext(ctx, "e2fsck", "-p", device).CombinedOutput()

	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}

	return fmt.Errorf("check %s: %w: %s: it needs a person: `e2fsck %s`", device, err, bytes.TrimSpace(output), device)
}

// Mounted implements Disk. It reads nothing from the disk, so frozen I/O doesn't
// hold it up.
func (HostDisk) Mounted() (bool, error) {
	var parent, mount unix.Stat_t

	err := unix.Stat(config.MetadataPath, &mount)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}

	if err == nil {
		err = unix.Stat(config.MetadataParent, &parent)
	}

	if err != nil {
		return false, fmt.Errorf("look for the mount: %w", err)
	}

	return mount.Dev != parent.Dev, nil
}

// Prepare implements Disk.
func (HostDisk) Prepare(empty bool) error {
	err := os.Mkdir(DataPath, 0o750)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the data directory: %w", err)
	}

	err = os.Chown(DataPath, containers.MFSUser, containers.MFSUser)
	if err != nil {
		return fmt.Errorf("give the data directory to mfs: %w", err)
	}

	// The lock is the process's, and that is gone: after a power cut or a kill
	// only its file is left.
	err = os.Remove(inData(".mfsmaster.lock"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the stale lock: %w", err)
	}

	// mfsmaster would append to a torn line: see files.CutTornChange.
	_, err = files.CutTornChange(DataPath)
	if err != nil {
		return err
	}

	if !empty {
		return nil
	}

	return firstMetadata()
}

// Mend implements Disk.
func (HostDisk) Mend() (string, error) {
	n, err := files.IdleUnknownSessions(DataPath)
	if err != nil || n == 0 {
		return "", err
	}

	return fmt.Sprintf("mfsmaster could not start from the metadata that it had saved: %d changes of sessions that are not in it were made into changes of nothing", n), nil
}

// firstMetadata writes the empty metadata, unless any is there.
func firstMetadata() error {
	there, err := filepath.Glob(inData("metadata*"))
	if err != nil || len(there) > 0 {
		return err
	}

	temporary := inData("first.tmp")

	err = writeDurably(temporary, []byte(files.Empty))
	if err != nil {
		return fmt.Errorf("write the empty metadata: %w", err)
	}

	err = os.Chown(temporary, containers.MFSUser, containers.MFSUser)
	if err != nil {
		return fmt.Errorf("give the empty metadata to mfs: %w", err)
	}

	err = os.Rename(temporary, inData("metadata.mfs"))
	if err != nil {
		return fmt.Errorf("put the empty metadata in place: %w", err)
	}

	unix.Sync()

	return nil
}

func writeDurably(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}

	_, err = file.Write(content)

	return errors.Join(err, file.Sync(), file.Close())
}

// Stored implements Disk.
func (HostDisk) Stored() (files.Stored, error) { return files.ReadStored(DataPath) }

// LastTime implements Disk.
func (HostDisk) LastTime() (time.Time, error) { return files.LastTime(DataPath) }

// Healthy implements Disk. It reads no file, so frozen I/O doesn't hold it up.
func (HostDisk) Healthy() (free uint64, err error) {
	var stat unix.Statfs_t

	err = unix.Statfs(config.MetadataPath, &stat)
	if err != nil {
		return 0, fmt.Errorf("look at the replica's file system: %w", err)
	}

	if stat.Flags&unix.ST_RDONLY != 0 {
		return 0, errors.New("the replica's file system has become read-only after an error of its device: mfsmaster could not write its changelog")
	}

	return stat.Bavail * uint64(stat.Bsize), nil
}

// MakeRoom implements Disk.
func (HostDisk) MakeRoom() (string, error) { return files.MakeRoom(DataPath) }

// unmountRetry is how often unmounting is tried: for a moment after the kill
// the process still holds its files.
const unmountRetry = 20 * time.Millisecond

// Unmount implements Disk.
func (HostDisk) Unmount(ctx context.Context) error {
	ticker := time.NewTicker(unmountRetry)
	defer ticker.Stop()

	for {
		err := unix.Unmount(config.MetadataPath, 0)
		if err == nil || errors.Is(err, unix.EINVAL) {
			return nil
		}

		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", config.MetadataPath, err)
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: it is in use: %w", config.MetadataPath, ctx.Err())
		case <-ticker.C:
		}
	}
}

func command(ctx context.Context, name string, args ...string) error {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(output))
	}

	return nil
}
