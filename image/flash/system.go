package flash

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

// System is the system of an image, for the slot of a node that has another one.
type System struct {
	// Arguments of the kernel.
	Arguments      string
	Kernel, Initrd []byte
	// Root is what names the root among them.
	Root string
	// RootSize in bytes, of what Data begins with.
	RootSize int64

	img  *image
	data io.Reader
}

// OpenSystem finds the system in an image. Close it.
func OpenSystem(path string) (*System, error) {
	img, err := openImage(path)
	if err != nil {
		return nil, err
	}

	system, err := img.system()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), img.close())
	}

	return system, nil
}

// Close the image.
func (s *System) Close() error { return s.img.close() }

// Data is root, kernel and initrd, one after the other; it can be read once.
func (s *System) Data() io.Reader {
	return io.MultiReader(io.LimitReader(s.data, s.RootSize), bytes.NewReader(s.Kernel), bytes.NewReader(s.Initrd))
}

// KernelSHA256 and InitrdSHA256 are what must be read back.
func (s *System) KernelSHA256() []byte { return sum(s.Kernel) }

// InitrdSHA256 is the initrd's.
func (s *System) InitrdSHA256() []byte { return sum(s.Initrd) }

func sum(data []byte) []byte {
	sum := sha256.Sum256(data)

	return sum[:]
}

// system reads the boot partition, and the image up to its root.
func (img *image) system() (*System, error) {
	scratch, err := os.CreateTemp("", "antler-boot-")
	if err != nil {
		return nil, err
	}

	defer scratch.Close()

	err = os.Remove(scratch.Name())
	if err != nil {
		return nil, err
	}

	_, err = io.CopyN(io.Discard, img.rest, img.bootStart-tableSize)
	if err == nil {
		_, err = io.CopyN(scratch, img.rest, img.bootSize)
	}

	if err == nil {
		_, err = io.CopyN(io.Discard, img.rest, img.rootStart-img.bootStart-img.bootSize)
	}

	if err != nil {
		return nil, fmt.Errorf("read the image: %w", err)
	}

	fat, err := fat32.Read(file.New(scratch, true), img.bootSize, 0, layout.Sector)
	if err != nil {
		return nil, fmt.Errorf("read the image's boot partition: %w", err)
	}

	system := &System{img: img, data: img.rest}

	return system, system.read(fat)
}

// read takes the entry of the slot that an image is made with.
func (s *System) read(fat *fat32.FileSystem) error {
	entry, err := readFile(fat, slots.EntryFile)
	if err != nil {
		return err
	}

	s.Arguments, err = slots.ParseEntry(entry)
	if err != nil {
		return err
	}

	root, err := verity.Parse(s.Arguments)
	if err != nil {
		return err
	}

	s.Root, s.RootSize = root.Argument(), root.Size()

	s.Kernel, err = readFile(fat, slots.Kernel)
	if err != nil {
		return err
	}

	s.Initrd, err = readFile(fat, slots.Initrd)

	return err
}

func readFile(fat *fat32.FileSystem, name string) ([]byte, error) {
	name = "/" + layout.SlotA + "/" + name

	f, err := fat.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("it has no file %s on its boot partition: %w", name, err)
	}
	defer f.Close()

	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s of its boot partition: %w", name, err)
	}

	// The library's Read doesn't stop at the file's end, so it is given no more room.
	data := make([]byte, info.Size())

	_, err = io.ReadFull(f, data)
	if err != nil {
		return nil, fmt.Errorf("read %s of its boot partition: %w", name, err)
	}

	return data, nil
}
