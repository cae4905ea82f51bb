package bootconfig

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// mounted is a Partition on a block device.
type mounted struct{ device, dir string }

// Mount mounts the FAT of a device read-only and calls do with it.
func Mount(device, dir string, do func(Partition) error) error {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return fmt.Errorf("mount the boot partition: %w", err)
	}

	err = unix.Mount(device, dir, "vfat", mountFlags|unix.MS_RDONLY, "umask=0077")
	if err != nil {
		return fmt.Errorf("mount the boot partition %s on %s: %w", device, dir, err)
	}

	err = do(mounted{device, dir})

	if unmountErr := unix.Unmount(dir, 0); unmountErr != nil && err == nil {
		return fmt.Errorf("unmount the boot partition from %s: %w", dir, unmountErr)
	}

	return err
}

// Dir implements Partition.
func (m mounted) Dir() string { return m.dir }

// MakeWritable implements Partition.
func (m mounted) MakeWritable() error {
	err := unix.Mount(m.device, m.dir, "", mountFlags|unix.MS_REMOUNT, "umask=0077")
	if err != nil {
		return fmt.Errorf("make the boot partition %s writable: %w", m.device, err)
	}

	return nil
}
