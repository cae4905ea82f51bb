package moosefs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fsSyncFlag is FS_SYNC_FL of linux/fs.h.
const fsSyncFlag = 0x00000008

// setSync gives a directory, and everything in it, the S attribute
// (FS_SYNC_FL, ioctl_iflags(2)): every write returns when it is on disk, every
// change of a directory too. New files and directories inherit it, so a store
// that has it at its root needs no second look.
func setSync(root string) error {
	done, err := hasSync(root)
	if err != nil || done {
		return err
	}

	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root || !entry.IsDir() && !entry.Type().IsRegular() {
			return err
		}

		return addSync(path)
	})
	if err != nil {
		return err
	}

	// Last: it says that everything below has it.
	return addSync(root)
}

func hasSync(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()

	flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return false, fmt.Errorf("the file system at %s has no file attributes: %w", path, err)
	}

	return flags&fsSyncFlag != 0, nil
}

func addSync(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()

	flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("read the attributes of %s: %w", path, err)
	}

	err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags|fsSyncFlag)
	if err != nil {
		return fmt.Errorf("set the S attribute of %s: %w", path, err)
	}

	return nil
}
