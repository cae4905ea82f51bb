package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"antler/image/verity"
)

// The device mapper's interface: include/uapi/linux/dm-ioctl.h
const (
	dmControl    = "/dev/mapper/control"
	dmDevCreate  = 0xc138fd03
	dmDevSuspend = 0xc138fd06 // resumes unless told to suspend
	dmTableLoad  = 0xc138fd09
	dmReadOnly   = 1
	dmHeader     = 312
	dmTargetSpec = 40
	rootMapping  = "antler-root"
)

// openVerity makes a device that checks each block it reads from the partition,
// and returns its path. A block that is not what it was when the image was built
// makes the machine panic: it must not go on with a system that is none.
func openVerity(partition string, root verity.Root) (string, error) {
	control, err := os.OpenFile(dmControl, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("open the device mapper: %w", err)
	}
	defer control.Close()
	table := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %s - 1 panic_on_corruption",
		partition, partition, verity.Block, verity.Block, root.Blocks, root.Blocks, root.Hash)
	for _, step := range []struct {
		name    string
		request uintptr
		message []byte
	}{
		{"create", dmDevCreate, dmMessage(nil)},
		{"load the table of", dmTableLoad, dmMessage(dmTarget(uint64(root.Blocks*verity.Block/512), "verity", table))},
		{"start", dmDevSuspend, dmMessage(nil)},
	} {
		if err := ioctl(control, step.request, step.message); err != nil {
			return "", fmt.Errorf("%s %s: %w", step.name, rootMapping, err)
		}
	}
	return "/dev/dm-0", nil // the first mapping that there is
}

// dmMessage is a struct dm_ioctl about our mapping, with what follows it.
func dmMessage(data []byte) []byte {
	m := make([]byte, dmHeader, dmHeader+len(data))
	binary.LittleEndian.PutUint32(m[0:], 4) // version 4.0.0
	binary.LittleEndian.PutUint32(m[12:], uint32(dmHeader+len(data)))
	binary.LittleEndian.PutUint32(m[16:], dmHeader)
	if data != nil {
		binary.LittleEndian.PutUint32(m[20:], 1) // one target
	}
	binary.LittleEndian.PutUint32(m[28:], dmReadOnly)
	copy(m[48:], rootMapping)
	return append(m, data...)
}

// dmTarget is a struct dm_target_spec of one target over the whole device.
func dmTarget(sectors uint64, kind, parameters string) []byte {
	var t bytes.Buffer
	size := dmTargetSpec + (len(parameters)+1+7)&^7
	for _, field := range []any{uint64(0), sectors, int32(0), uint32(size)} {
		_ = binary.Write(&t, binary.LittleEndian, field)
	}
	spec := make([]byte, size)
	copy(spec, t.Bytes())
	copy(spec[24:dmTargetSpec], kind)
	copy(spec[dmTargetSpec:], parameters)
	return spec
}

func ioctl(f *os.File, request uintptr, message []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&message[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
