package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BlockDevice is the Device that looks at real ones.
type BlockDevice struct {
	// Taken says what else on this machine a device belongs to, "" for nothing. It is
	// for what can't be seen on the device; nil where nobody says that.
	Taken func(path string) string
}

// TakenError says what else on this machine a device belongs to.
type TakenError struct{ By string }

func (e *TakenError) Error() string { return "it " + e.By }

// Size implements Device.
func (d BlockDevice) Size(path string) (int64, error) {
	if d.Taken != nil {
		if by := d.Taken(path); by != "" {
			return 0, &TakenError{by}
		}
	}

	// O_EXCL without O_CREAT fails on a block device that somebody has claimed:
	// a mount, swap, device mapper, MD, or DRBD.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return 0, err
	}

	if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
		return 0, errors.New("it is no block device")
	}

	return file.Seek(0, io.SeekEnd)
}

// Blank implements Device.
func (BlockDevice) Blank(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()

	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}

	return blankEnds(file, size)
}

const mebibyte = 1 << 20

// blankEnds reports whether the first and last mebibyte are all zero.
func blankEnds(device io.ReaderAt, size int64) (bool, error) {
	buffer := make([]byte, mebibyte)

	for _, offset := range []int64{0, max(0, size-mebibyte)} {
		n, err := device.ReadAt(buffer, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}

		for _, b := range buffer[:n] {
			if b != 0 {
				return false, nil
			}
		}
	}

	return true, nil
}

// zeroStep is looked at and zeroed at a time.
const zeroStep = 4 << 20

// Zero implements Device.
func (BlockDevice) Zero(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer file.Close()

	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	if zeroesBySelf(file) {
		return errors.Join(zeroAll(ctx, file, size), file.Sync())
	}

	err = zeroWhereNeeded(ctx, file, size, func(offset, length int64) error { return zeroOut(file, offset, length) })
	if err != nil {
		return err
	}

	return file.Sync()
}

// zeroesBySelf reports whether the device zeroes on command: then there is no
// faster way, and no need to look first.
func zeroesBySelf(file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}

	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}

	// A partition has its queue's settings one directory up.
	device := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))

	for _, queue := range []string{device + "/queue", device + "/../queue"} {
		content, err := os.ReadFile(queue + "/write_zeroes_max_bytes")
		if err == nil {
			return string(bytes.TrimSpace(content)) != "0"
		}
	}

	return false
}

// zeroSpan is zeroed at a time by a device that does so by itself.
const zeroSpan = 256 << 20

func zeroAll(ctx context.Context, file *os.File, size int64) error {
	for offset := int64(0); offset < size; offset += zeroSpan {
		if ctx.Err() != nil {
			return ctx.Err()
		}

		err := zeroOut(file, offset, min(zeroSpan, size-offset))
		if err != nil {
			return fmt.Errorf("at %d MiB of %d: %w", offset>>20, size>>20, err)
		}
	}

	return nil
}

// zeroWhereNeeded leaves alone what reads as zeros already: on a new disk that is
// all of it, and reading is faster than writing and wears nothing out.
func zeroWhereNeeded(ctx context.Context, device io.ReaderAt, size int64, zero func(offset, length int64) error) error {
	zeros, content := make([]byte, zeroStep), make([]byte, zeroStep)

	for offset := int64(0); offset < size; offset += zeroStep {
		if ctx.Err() != nil {
			return ctx.Err()
		}

		length := min(zeroStep, size-offset)

		n, err := device.ReadAt(content[:length], offset)
		if err == nil && bytes.Equal(content[:n], zeros[:length]) {
			continue
		}

		// What can't be read can be written, or else is an error now.
		err = zero(offset, length)
		if err != nil {
			return fmt.Errorf("at %d MiB of %d: %w", offset>>20, size>>20, err)
		}
	}

	return nil
}

// zeroOut has the kernel zero a range: by discarding where the device promises
// zeros afterwards, by writing them where not.
func zeroOut(file *os.File, offset, length int64) error {
	span := [2]uint64{uint64(offset), uint64(length)}

	_, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return os.NewSyscallError("BLKZEROOUT", errno)
	}

	return nil
}
