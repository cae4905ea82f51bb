package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"antler/services/volume"
)

// HostMounts are the mounts of this host.
type HostMounts struct {
	// Kubelet is kubelet's directory, Source where the node's mount of MooseFS
	// is, Volumes what holds the mounts of single volumes.
	Kubelet, Source, Volumes string
	calls                    *volume.Calls
}

// Deadlines of system calls that may hang. An unmount asks a FUSE file system
// for nothing, unless it is the last use of it.
const (
	mountDeadline = 10 * time.Second
	mountsStuck   = 16
)

// NewHostMounts returns the mounts below kubelet's directory.
func NewHostMounts(kubelet, source, volumes string) *HostMounts {
	return &HostMounts{Kubelet: kubelet, Source: source, Volumes: volumes, calls: volume.NewCalls(mountsStuck, mountDeadline)}
}

// beneath opens path, which must be below kubelet's directory, through no link.
func (h *HostMounts) beneath(path string, flags uint64) (*os.File, error) {
	relative, err := filepath.Rel(h.Kubelet, path)
	if err != nil {
		return nil, err
	}

	// Kubelet's directory itself may be a link, as k3s can make it.
	top, err := unix.Open(h.Kubelet, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: h.Kubelet, Err: err}
	}
	defer func() { _ = unix.Close(top) }()

	how := unix.OpenHow{
		Flags:   flags | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}

	for {
		fd, err := unix.Openat2(top, relative, &how)

		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}

		return os.NewFile(uintptr(fd), path), nil
	}
}

// Bind implements Mounter. The mount is made of the opened directory, whatever
// its path has become, and set on the opened target.
func (h *HostMounts) Bind(ctx context.Context, source *os.File, target string, attributes uint64) error {
	_, err := volume.Run(ctx, h.calls, "bind", func(context.Context) (struct{}, error) {
		return struct{}{}, h.bind(source, target, attributes)
	})

	return err
}

func (h *HostMounts) bind(source *os.File, target string, attributes uint64) error {
	parent, err := h.beneath(filepath.Dir(target), unix.O_PATH)
	if err != nil {
		return err
	}
	defer parent.Close()

	err = unix.Mkdirat(int(parent.Fd()), filepath.Base(target), 0o750)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: target, Err: err}
	}

	at, err := h.beneath(target, unix.O_PATH)
	if err != nil {
		return err
	}
	defer at.Close()

	tree, err := unix.OpenTree(int(source.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("open_tree of %s: %w", source.Name(), err)
	}
	defer func() { _ = unix.Close(tree) }()

	// Private, or what somebody mounts in the pod would appear in all others.
	attr := unix.MountAttr{Attr_set: attributes, Propagation: unix.MS_PRIVATE}
	if attributes&(unix.MOUNT_ATTR_NOATIME|unix.MOUNT_ATTR_RELATIME) != 0 {
		attr.Attr_clr = unix.MOUNT_ATTR__ATIME
	}

	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("mount_setattr of %s: %w", target, err)
	}

	err = unix.MoveMount(tree, "", int(at.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move_mount to %s: %w", target, err)
	}

	return nil
}

// maxStacked bounds the mounts taken off one path: more means that somebody
// puts them back.
const maxStacked = 16

// Unmount implements Mounter.
func (h *HostMounts) Unmount(ctx context.Context, target string) error {
	_, err := volume.Run(ctx, h.calls, "unmount", func(context.Context) (struct{}, error) {
		return struct{}{}, h.unmount(target)
	})

	return err
}

func (h *HostMounts) unmount(target string) error {
	// That there is no link on the way to it.
	parent, err := h.beneath(filepath.Dir(target), unix.O_PATH)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return err
	}
	defer parent.Close()

	for range maxStacked {
		mounts, err := h.List()
		if err != nil {
			return err
		}

		if !contains(mounts, target) {
			return nil
		}

		// A plain one: it fails while a program has something open there, and
		// what still writes must not be let out of sight. By the opened directory:
		// nobody can put a link into the way meanwhile.
		at := fmt.Sprintf("/proc/self/fd/%d/%s", parent.Fd(), filepath.Base(target))
		if err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("is it still in use? %w", err)
		}
	}

	return fmt.Errorf("after %d unmounts something is still mounted", maxStacked)
}

func contains(mounts []Mount, path string) bool {
	for _, m := range mounts {
		if m.Path == path {
			return true
		}
	}

	return false
}

// Remove implements Mounter. A directory that isn't empty stays, and is an
// error: nothing should ever have been written there.
func (h *HostMounts) Remove(ctx context.Context, target string) error {
	_, err := volume.Run(ctx, h.calls, "remove", func(context.Context) (struct{}, error) {
		return struct{}{}, h.remove(target)
	})

	return err
}

func (h *HostMounts) remove(target string) error {
	parent, err := h.beneath(filepath.Dir(target), unix.O_PATH)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return err
	}
	defer parent.Close()

	err = unix.Unlinkat(int(parent.Fd()), filepath.Base(target), unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: target, Err: err}
	}

	return nil
}

// List implements Mounter. It reads /proc/self/mountinfo, which never waits for
// a file system.
func (h *HostMounts) List() ([]Mount, error) {
	kubelet, err := filepath.EvalSymlinks(h.Kubelet)
	if err != nil {
		return nil, err
	}

	var (
		infos []*mountinfo.Info
		// living are the file systems that mfsmount serves now.
		living = map[string]bool{}
	)

	_, err = mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		switch {
		case h.isSource(i):
			living[deviceOf(i)] = true
		case strings.HasPrefix(i.Mountpoint, kubelet+"/"):
			infos = append(infos, i)
		}

		return true, false
	})
	if err != nil {
		return nil, fmt.Errorf("read the mounts: %w", err)
	}

	out := make([]Mount, 0, len(infos))

	for _, i := range infos {
		// Pods have other mounts there as well: they are nobody's volume.
		m := Mount{Path: h.Kubelet + strings.TrimPrefix(i.Mountpoint, kubelet), Root: "(" + i.FSType + ")"}
		if isFuse(i) {
			m.Root, m.Own = rootWithin(i)
			m.Stale = !living[deviceOf(i)]
		}

		out = append(out, m)
	}

	return out, nil
}

// isSource reports whether it is the node's mount of MooseFS, or one of a single
// volume.
func (h *HostMounts) isSource(i *mountinfo.Info) bool {
	return isFuse(i) && (i.Mountpoint == h.Source || filepath.Dir(i.Mountpoint) == h.Volumes)
}

func isFuse(i *mountinfo.Info) bool { return strings.HasPrefix(i.FSType, "fuse") }

// rootWithin returns what of MooseFS is mounted, and whether its mount shows a
// directory of MooseFS only. mfsmount's source is mfs#HOST:PORT, or HOST:PORT where
// its type is fuse.mfs, with that directory behind it (make_fsname in mfsmount.c).
func rootWithin(i *mountinfo.Info) (string, bool) {
	address, named := strings.CutPrefix(i.Source, "mfs#")

	_, below, own := strings.Cut(address, "/")
	if !own || !named && i.FSType != "fuse.mfs" {
		return i.Root, false
	}

	return filepath.Join("/", below, i.Root), true
}

func deviceOf(i *mountinfo.Info) string { return fmt.Sprintf("%d:%d", i.Major, i.Minor) }
