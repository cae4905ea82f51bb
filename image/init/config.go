package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// bootConfig is what a person puts on the boot partition.
	bootConfig = "antler.yaml"
	// maxConfig is far above any configuration: the FAT is anybody's to write.
	maxConfig = 1 << 20
)

// takeConfig copies antler.yaml of the boot partition to config.yaml in etc,
// readable by root only, for it holds keys. Without one the last one taken
// stays. A boot partition that cannot be read does not stop a node that has a
// configuration: the card may be in another machine's hands.
func takeConfig(device, etc string) error {
	data, err := readBootConfig(device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "antler init: going on with the last configuration:", err)
		return nil
	}
	to := filepath.Join(etc, "config.yaml")
	if last, err := os.ReadFile(to); err == nil && bytes.Equal(last, data) {
		return nil
	}
	return keep(to, data)
}

func readBootConfig(device string) ([]byte, error) {
	if err := mount(device, "/boot", "vfat", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, err
	}
	defer func() { _ = unix.Unmount("/boot", 0) }()
	path := filepath.Join("/boot", bootConfig)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%s has %d bytes, more than any configuration", bootConfig, info.Size())
	}
	return os.ReadFile(path)
}
