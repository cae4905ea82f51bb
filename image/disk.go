package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"antler/image/layout"
	"antler/image/slots"
)

const (
	sector = layout.Sector
	mib    = 1 << 20

	bootSize = 128 * mib
	// rootSize of each slot leaves room for the system to grow in an update in place.
	rootSize = 384 * mib
)

// extent is a place on the disk, in bytes.
type extent struct {
	label       string
	kind        gpt.Type
	start, size int64
}

// extentsOf places our partitions one after the other from 1 MiB on, where SD
// cards and SSDs like them. The kernel shows the labels as PARTNAME, which is
// how image/init finds them.
func extentsOf(state int64) []extent {
	extents := []extent{
		{label: layout.Boot, kind: gpt.MicrosoftBasicData, size: bootSize},
		{label: layout.Root(layout.SlotA), kind: gpt.LinuxFilesystem, size: rootSize},
		{label: layout.Root(layout.SlotB), kind: gpt.LinuxFilesystem, size: rootSize},
		{label: layout.State, kind: gpt.LinuxFilesystem, size: state},
	}
	at := int64(mib)
	for i := range extents {
		extents[i].start = at
		at += extents[i].size
	}
	return extents
}

// diskSize adds 1 MiB after the last partition for the second copy of the table.
func diskSize(extents []extent) int64 {
	last := extents[len(extents)-1]
	return last.start + last.size + mib
}

// guid is the same in every build of the image; no two partitions of one disk
// share it, and nothing looks for a partition by it.
func guid(name string) string {
	return strings.ToUpper(uuid.NewSHA1(uuid.NameSpaceOID, []byte("antler/image/"+name)).String())
}

func table(extents []extent) *gpt.Table {
	t := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: guid("antler")}
	for i, s := range extents {
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: i + 1,
			Start: uint64(s.start / sector),
			End:   uint64((s.start+s.size)/sector - 1),
			Size:  uint64(s.size),
			Type:  s.kind,
			Name:  s.label,
			GUID:  guid(s.label),
		})
	}
	return t
}

// makeDisk writes out/antler.img. It is sparse: what no step writes takes no room.
func makeDisk(ctx context.Context, out, squash string, state int64) error {
	tmp := filepath.Join(out, "antler.img.new")
	extents := extentsOf(state)
	boot, root := extents[0], extents[1]
	if err := writeTable(tmp, extents); err != nil {
		return fmt.Errorf("partition %s: %w", tmp, err)
	}
	if err := copyInto(tmp, root, squash); err != nil {
		return err
	}
	// mkfs and mtools take the partition's place in the image. One sector per
	// cluster: mkfs.vfat would choose by the size of the whole image, and with
	// fewer than 65525 clusters it is no FAT32 to mtools and to firmware.
	err := command(ctx, "mkfs.vfat", "-F", "32", "-s", "1", "--invariant", "-n", "ANTLER", "-h", fmt.Sprint(boot.start/sector),
		"--offset", fmt.Sprint(boot.start/sector), tmp, fmt.Sprint(boot.size/1024))
	if err != nil {
		return err
	}
	if err := copyBoot(ctx, out, fmt.Sprintf("%s@@%d", tmp, boot.start)); err != nil {
		return err
	}
	// The state partition stays blank: init formats it, on the size that the
	// card has room for.
	return os.Rename(tmp, filepath.Join(out, "antler.img"))
}

// copyBoot fills the boot partition, as mtools name it: what both slots share, the
// entry of the first, and a directory for that of the second.
func copyBoot(ctx context.Context, out, partition string) error {
	shared, entry, err := bootFiles(out)
	if err != nil {
		return err
	}
	copyTo := func(files []string, to string) error {
		return command(ctx, "mcopy", append([]string{"-m", "-i", partition}, append(files, to)...)...)
	}
	return errors.Join(
		copyTo(shared, "::"),
		command(ctx, "mmd", "-i", partition, "::"+layout.SlotA, "::"+layout.SlotB),
		copyTo(entry, "::"+layout.SlotA),
	)
}

// bootFiles are the files of the boot partition, in the order of their names and
// with the date of the build: those of the boot loader, and those of a slot.
func bootFiles(out string) (shared, entry []string, err error) {
	shared, err = filepath.Glob(filepath.Join(out, "boot", "*"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{slots.Kernel, slots.Initrd, slots.EntryFile} {
		entry = append(entry, filepath.Join(out, name))
	}
	for _, file := range append(slices.Clone(shared), entry...) {
		if err := os.Chtimes(file, buildTime(), buildTime()); err != nil {
			return nil, nil, err
		}
	}
	return shared, entry, nil
}

func writeTable(path string, extents []extent) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	disk, err := file.CreateFromPath(path, diskSize(extents))
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	w, err := disk.Writable()
	if err != nil {
		return err
	}
	return table(extents).Write(w, diskSize(extents))
}

func copyInto(disk string, s extent, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if info.Size() > s.size {
		return fmt.Errorf("%s has %d MiB, its partition %s %d MiB: prune packages or raise rootSize",
			from, info.Size()/mib, s.label, s.size/mib)
	}
	dst, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := dst.Seek(s.start, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return err
}
