package flash

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/ulikunitz/xz"

	"antler/image/layout"
	"antler/services/node/bootconfig"
)

// tableSize is how much of the image's beginning holds the partition table.
const tableSize = 1 << 20

// image is an opened image file, packed or not.
type image struct {
	closer io.Closer
	rest   io.Reader // behind what was read into table
	table  []byte
	// size of the unpacked image, and where its boot partition and its system's root
	// are, in bytes.
	size, bootStart, bootSize, rootStart int64
}

// openImage reads the partition table and no further.
func openImage(path string) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the image: %w", err)
	}

	opened, err := readImage(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not an image of Antler, or not a whole one: %w", path, err), f.Close())
	}

	opened.closer = f

	return opened, nil
}

func readImage(f io.Reader) (*image, error) {
	buffered := bufio.NewReaderSize(f, 1<<20)

	var plain io.Reader = buffered

	// https://tukaani.org/xz/xz-file-format.txt, section 2.1.1.1
	magic, err := buffered.Peek(6)
	if err == nil && bytes.Equal(magic, []byte("\xFD7zXZ\x00")) {
		plain, err = xz.NewReader(buffered)
	}

	if err != nil {
		return nil, err
	}

	img := &image{rest: plain, table: make([]byte, tableSize)}

	_, err = io.ReadFull(plain, img.table)
	if err != nil {
		return nil, err
	}

	return img, img.readTable()
}

// readTable finds the boot partition, and the end of the image: the second copy
// of the table is its last sector.
func (img *image) readTable() error {
	table, err := gpt.Read(memory{bytes.NewReader(img.table)}, layout.Sector, layout.Sector)
	if err != nil {
		return err
	}

	found := map[string]bool{}

	for _, p := range table.Partitions {
		found[p.Name] = true

		switch p.Name {
		case layout.Boot:
			img.bootStart, img.bootSize = int64(p.Start)*layout.Sector, int64(p.Size)
		case layout.Root(layout.SlotA):
			img.rootStart = int64(p.Start) * layout.Sector
		}
	}

	for _, label := range layout.Labels() {
		if !found[label] {
			return fmt.Errorf("it has no partition %s", label)
		}
	}

	if img.rootStart < img.bootStart+img.bootSize {
		return fmt.Errorf("its partition %s begins before the end of %s", layout.Root(layout.SlotA), layout.Boot)
	}

	if img.bootStart < tableSize {
		return fmt.Errorf("its partition %s begins inside the partition table", layout.Boot)
	}

	img.size = int64(table.TotalSize())

	return nil
}

func (img *image) close() error { return img.closer.Close() }

// reader returns the whole image with the configuration in its boot partition,
// if there is one. The file scratch must be there until it is read.
func (img *image) reader(config []byte, scratch *os.File) (io.Reader, error) {
	parts := []io.Reader{bytes.NewReader(img.table)}

	if config != nil {
		boot, err := img.withConfig(config, scratch)
		if err != nil {
			return nil, err
		}

		parts = append(parts, boot...)
	}

	return io.LimitReader(io.MultiReader(append(parts, img.rest)...), img.size), nil
}

// withConfig copies what is up to the end of the boot partition and puts the
// configuration into it.
func (img *image) withConfig(config []byte, scratch *os.File) ([]io.Reader, error) {
	between := make([]byte, img.bootStart-tableSize)

	_, err := io.ReadFull(img.rest, between)
	if err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}

	_, err = io.CopyN(scratch, img.rest, img.bootSize)
	if err != nil {
		return nil, fmt.Errorf("read the image's boot partition: %w", err)
	}

	err = putFile(scratch, img.bootSize, bootconfig.File, config)
	if err != nil {
		return nil, fmt.Errorf("put %s on the boot partition: %w", bootconfig.File, err)
	}

	return []io.Reader{bytes.NewReader(between), io.NewSectionReader(scratch, 0, img.bootSize)}, nil
}

func putFile(fat *os.File, size int64, name string, content []byte) error {
	system, err := fat32.Read(file.New(fat, false), size, 0, layout.Sector)
	if err != nil {
		return err
	}

	f, err := system.OpenFile("/"+name, os.O_CREATE|os.O_RDWR|os.O_TRUNC)
	if err != nil {
		return err
	}

	_, err = f.Write(content)

	return errors.Join(err, f.Close(), forgetFree(fat))
}

// forgetFree marks the hint of how much is free as unknown: the library leaves
// it as it was, and a laptop would want to repair the card. See "FSInfo" in
// Microsoft's FAT specification: the hint's sector is named at 48 of the boot
// sector, and the count is at 488 of that.
func forgetFree(fat *os.File) error {
	var number [2]byte

	_, err := fat.ReadAt(number[:], 48)
	if err != nil {
		return err
	}

	_, err = fat.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, int64(binary.LittleEndian.Uint16(number[:]))*layout.Sector+488)

	return err
}

// memory lets a partition table be read from where it lies in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error                 { return nil }
func (m memory) Stat() (fs.FileInfo, error) { return m, nil }
func (memory) Name() string                 { return "image" }
func (memory) Mode() fs.FileMode            { return 0 }
func (memory) ModTime() time.Time           { return time.Time{} }
func (memory) IsDir() bool                  { return false }
func (memory) Sys() any                     { return nil }
