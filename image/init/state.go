package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"antler/image/layout"
)

// condition is what a look at the first MiB of the state partition tells.
type condition int

const (
	clean   condition = iota // ext4; a journal to replay is clean: mounting does that
	damaged                  // ext4, and the kernel noted errors on it
	blank                    // nothing at all was ever written
	foreign                  // something that is not ours
)

// Offsets in an ext4 superblock, which lies 1024 bytes into the device:
// https://docs.kernel.org/filesystems/ext4/super.html
const (
	superblock = 1024
	magicAt    = superblock + 0x38
	stateAt    = superblock + 0x3A
	ext4Magic  = 0xEF53
	errorsSeen = 0x2
)

// judge reads a partition's beginning.
func judge(head []byte) condition {
	if len(head) >= stateAt+2 && binary.LittleEndian.Uint16(head[magicAt:]) == ext4Magic {
		if binary.LittleEndian.Uint16(head[stateAt:])&errorsSeen != 0 {
			return damaged
		}
		return clean
	}
	// Some cards read as ones where they were erased.
	if len(bytes.Trim(head, "\x00")) == 0 || len(bytes.Trim(head, "\xff")) == 0 {
		return blank
	}
	return foreign
}

// mountState mounts the state on where, which is in the new root. A partition
// on which nothing was ever written is formatted; one with something unknown
// on it is refused, never overwritten.
func mountState(device, where string) error {
	head, err := readHead(device)
	if err != nil {
		return err
	}
	switch judge(head) {
	case foreign:
		return fmt.Errorf("%s (antler-state) holds something that is not ext4: erase its first MiB to have it formatted", device)
	case blank:
		// The card was written just now, and a power cut while all of it is being
		// discarded would leave what is neither blank nor a file system.
		err = inNewRoot("/usr/sbin/mkfs.ext4", "-q", "-E", "nodiscard", "-L", layout.State, "-m", "1", device)
	case damaged:
		err = inNewRoot("/usr/sbin/e2fsck", "-p", device)
	}
	if err != nil {
		return err
	}
	return mount(device, where, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "errors=remount-ro")
}

func readHead(device string) ([]byte, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, fmt.Errorf("read %s: %w", device, err)
	}
	return head, nil
}

// inNewRoot runs a program of the system's, which sees the initrd's /dev.
func inNewRoot(program string, args ...string) error {
	dev := newRoot + "/dev"
	if err := mount("/dev", dev, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(dev, 0) }()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: newRoot}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	// e2fsck ends with 1 when it repaired everything it found.
	var exit *exec.ExitError
	if errors.As(err, &exit) && filepath.Base(program) == "e2fsck" && exit.ExitCode() == 1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return nil
}

// identify gives the node the machine-id it was born with. systemd wants it in
// /etc, which is read-only and the same on every node: a file in /run is
// mounted over it. It is not mounted from /var itself, which could then never
// be unmounted.
func identify(root string) error {
	kept := filepath.Join(root, "var/lib/antler/machine-id")
	id, err := os.ReadFile(kept)
	if err != nil || len(id) != 33 {
		id = newMachineID()
		if err := keep(kept, id); err != nil {
			return fmt.Errorf("keep the new machine-id: %w", err)
		}
	}
	const shown = "/run/machine-id"
	if err := os.WriteFile(shown, id, 0o444); err != nil {
		return err
	}
	return mount(shown, filepath.Join(root, "etc/machine-id"), "", unix.MS_BIND, "")
}

// newMachineID is 32 hexadecimal digits and a newline, see machine-id(5).
func newMachineID() []byte {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return []byte(hex.EncodeToString(id[:]) + "\n")
}

// keep writes a file so that after a power cut it is there whole or not at all.
func keep(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
