package containers

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A FUSE mount made inside a container reaches the host only through a mount
// that both share. The mount point itself is made that: it is bound onto itself
// and marked shared. The mount inside goes on top of the container's copy and
// the kernel repeats it here. Binding the mount point and not its parent keeps
// everything else in the parent out of the container.

// shareMountpoint makes path ready to receive a FUSE mount from a container. A
// mount that a dead process left there (everything on it fails with "transport
// endpoint is not connected") is taken away first.
func shareMountpoint(path string) error {
	err := unmountFuse(path)
	if err != nil {
		return err
	}

	err = os.MkdirAll(path, 0o755)
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}

	mounted, err := mountsAt(path)
	if err != nil {
		return err
	}

	if len(mounted) == 0 {
		err = unix.Mount(path, path, "", unix.MS_BIND, "")
		if err != nil {
			return fmt.Errorf("bind %s onto itself: %w", path, err)
		}
	}

	err = unix.Mount("", path, "", unix.MS_SHARED, "")
	if err != nil {
		return fmt.Errorf("make the mount at %s shared: %w", path, err)
	}

	return nil
}

// UnshareMountpoint takes back what was made of path for a container that is gone:
// the bind onto itself, and the directory. A FUSE mount that is still there is an
// error, and so is a directory with anything in it. A path that isn't there is
// none.
func UnshareMountpoint(path string) error {
	for range maxStacked {
		mounted, err := mountsAt(path)
		if err != nil {
			return err
		}

		if len(mounted) == 0 {
			break
		}

		if top := mounted[len(mounted)-1]; strings.HasPrefix(top, "fuse") {
			return fmt.Errorf("%s is still mounted at %s: try again when its container has ended", top, path)
		}

		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}

	err := unix.Rmdir(path)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the mount point %s: %w", path, err)
	}

	return nil
}

// maxStacked bounds the mounts taken off one path: more means that somebody
// puts them back.
const maxStacked = 32

// unmountFuse takes FUSE mounts off path, in use or not.
func unmountFuse(path string) error {
	for range maxStacked {
		mounted, err := mountsAt(path)
		if err != nil {
			return err
		}

		if len(mounted) == 0 || !strings.HasPrefix(mounted[len(mounted)-1], "fuse") {
			return nil
		}

		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount what is left at %s: %w", path, err)
		}
	}

	return fmt.Errorf("unmount what is left at %s: after %d there are still more", path, maxStacked)
}

// mountsAt returns the types of the file systems mounted at path, the topmost
// last.
func mountsAt(path string) ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mounts: %w", err)
	}
	defer file.Close()

	var types []string

	for lines := bufio.NewScanner(file); lines.Scan(); {
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)

		if !found || len(fields) < 5 || len(rest) < 1 {
			continue
		}

		if unescapeMount(fields[4]) == filepath.Clean(path) {
			types = append(types, rest[0])
		}
	}

	return types, nil
}

// unescapeMount undoes the kernel's escapes of white space and backslash in
// mountinfo (proc_pid_mountinfo(5)).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
