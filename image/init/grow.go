package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"

	"antler/image/layout"
)

const (
	sector = layout.Sector
	// worthIt is the least room to grow by: what is left over by rounding is not
	// worth touching a partition table.
	worthIt = 16 << 20
	// alignment of the new end, as of everything else on the disk.
	alignment = 1 << 20
)

// growState gives the state partition the room that is left on the disk, on
// the first boot: as long as nothing was ever written to it. A power cut leaves
// either the old table or the new one (the kernel is told with "gpt" to read the
// copy at the disk's end), and then the next boot goes on from there.
func growState(class, name string) error {
	device := "/dev/" + name
	head, err := readHead(device)
	if err != nil || judge(head) != blank {
		return err
	}
	part, err := filepath.EvalSymlinks(filepath.Join(class, name))
	if err != nil {
		return err
	}
	number, err := os.ReadFile(filepath.Join(part, "partition"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(number)))
	if err != nil {
		return err
	}
	// Not the library's own way to open it, which wants the disk for itself: the
	// root is mounted from it.
	f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(part)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	disk := file.New(f, false)
	grown, err := growTable(disk, n)
	if err != nil || grown == nil {
		return err
	}
	return resizePartition(disk, n, grown)
}

// growTable lets the last partition reach to the end of the disk and returns
// it, or nil when it is as large as it can be.
func growTable(disk backend.Storage, number int) (*gpt.Partition, error) {
	size, err := disk.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	table, err := gpt.Read(disk, sector, sector)
	if err != nil {
		return nil, fmt.Errorf("read the partition table: %w", err)
	}
	var last *gpt.Partition
	for _, p := range table.Partitions {
		if p.Type != gpt.Unused && (last == nil || p.Start > last.Start) {
			last = p
		}
	}
	if last == nil || last.Index != number {
		return nil, nil // somebody put a partition behind it: theirs to decide
	}
	table.Resize(uint64(size))
	end := (table.LastDataSector() + 1) / (alignment / sector) * (alignment / sector)
	// A table read from its copy was torn while it was being written: write it again.
	if end < last.End+1+worthIt/sector && !table.RecoveredFromBackup {
		return nil, nil
	}
	last.End = max(last.End, end-1)
	last.Size = (last.End - last.Start + 1) * sector
	w, err := disk.Writable()
	if err != nil {
		return nil, err
	}
	if err := table.Write(w, size); err != nil {
		return nil, fmt.Errorf("write the partition table: %w", err)
	}
	return last, nil
}

// resizePartition tells the kernel, which doesn't read the table again while
// another partition of the disk is in use.
func resizePartition(disk backend.Storage, number int, p *gpt.Partition) error {
	f, err := disk.Sys()
	if err != nil {
		return err
	}
	part := unix.BlkpgPartition{Start: int64(p.Start) * sector, Length: int64(p.Size), Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(&part)
	if errno != 0 {
		return fmt.Errorf("resize partition %d of %s to %d MiB: %w", number, f.Name(), p.Size>>20, errno)
	}
	return nil
}
