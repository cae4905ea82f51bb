package volume

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dir is an open directory. Every step from it goes exactly one component down:
// never through a symbolic link, "..", an absolute path or a mount point,
// whatever stands there. (os.Root would follow links within the tree and cross
// mounts.)
type dir struct{ *os.File }

// component refuses what isn't a single path component.
func component(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return &os.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}

	return nil
}

// sub opens the directory called name.
func (d dir) sub(name string) (dir, error) {
	if err := component(name); err != nil {
		return dir{}, err
	}

	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}

	var fd int

	err := d.do("open", name, func() (err error) {
		fd, err = unix.Openat2(int(d.Fd()), name, &how)

		return err
	})
	if err != nil {
		return dir{}, err
	}

	return dir{os.NewFile(uintptr(fd), d.Name()+"/"+name)}, nil
}

// mkdir makes and opens a directory with exactly this mode, or opens the one
// that is there as it is.
func (d dir) mkdir(name string, mode uint32) (dir, error) {
	if err := component(name); err != nil {
		return dir{}, err
	}

	err := d.do("mkdir", name, func() error { return unix.Mkdirat(int(d.Fd()), name, mode) })
	if errors.Is(err, unix.EEXIST) {
		return d.sub(name)
	}

	if err != nil {
		return dir{}, err
	}

	sub, err := d.sub(name)
	if err != nil {
		return dir{}, err
	}

	// Again, because the umask is the process's and may be anything.
	if err := d.do("chmod", name, func() error { return unix.Fchmod(int(sub.Fd()), mode) }); err != nil {
		return dir{}, errors.Join(err, sub.Close())
	}

	return sub, nil
}

// rename moves a directory from here to another one. It never replaces anything
// but an empty directory.
func (d dir) rename(name string, to dir, newName string) error {
	if err := errors.Join(component(name), component(newName)); err != nil {
		return err
	}

	return d.do("rename", name, func() error {
		return unix.Renameat(int(d.Fd()), name, int(to.Fd()), newName)
	})
}

// remove removes a file, link or empty directory.
func (d dir) remove(name string) error {
	if err := component(name); err != nil {
		return err
	}

	err := d.do("unlink", name, func() error { return unix.Unlinkat(int(d.Fd()), name, 0) })
	if !errors.Is(err, unix.EISDIR) {
		return err
	}

	return d.do("rmdir", name, func() error { return unix.Unlinkat(int(d.Fd()), name, unix.AT_REMOVEDIR) })
}

// names returns at most limit names from the beginning of the directory, all
// of them if limit is 0.
func (d dir) names(limit int) ([]string, error) {
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}

	names, err := d.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}

	return names, err
}

// mark returns an extended attribute of the directory, nil if there is none.
func (d dir) mark(name string) ([]byte, error) {
	// 64 KiB is the largest that Linux allows (XATTR_SIZE_MAX).
	value := make([]byte, 64<<10)

	var n int

	err := d.do("getxattr", name, func() (err error) {
		n, err = unix.Fgetxattr(int(d.Fd()), name, value)

		return err
	})
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	return value[:n], nil
}

// setMark sets an extended attribute of the directory.
func (d dir) setMark(name string, value []byte) error {
	return d.do("setxattr", name, func() error { return unix.Fsetxattr(int(d.Fd()), name, value, 0) })
}

// do calls f until no signal interrupts it (the Go runtime sends some), and
// says what failed.
func (d dir) do(op, name string, f func() error) error {
	for {
		err := f()
		if errors.Is(err, unix.EINTR) {
			continue
		}

		if err != nil {
			return &os.PathError{Op: op, Path: d.Name() + "/" + name, Err: err}
		}

		return nil
	}
}
