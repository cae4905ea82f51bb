package metadata

import (
	"encoding/binary"
	"io"
)

// Places in ext4's superblock, from the kernel's documentation: it is at byte
// 1024 of the device, its numbers are little-endian.
const (
	superOffset = 1024
	superMagic  = 0xEF53

	superMagicAt = 0x38
	superStateAt = 0x3A

	// stateClean is always set on a file system with a journal, mounted or not;
	// stateErrors is set when the kernel sees an inconsistency.
	stateClean  = 1
	stateErrors = 2
)

// superblock is what matters of it.
type superblock struct {
	// ext4 is false for anything else.
	ext4   bool
	faulty bool
}

func readSuperblock(device io.ReaderAt) (superblock, error) {
	block := make([]byte, 64)

	_, err := device.ReadAt(block, superOffset)
	if err != nil {
		return superblock{}, err
	}

	if binary.LittleEndian.Uint16(block[superMagicAt:]) != superMagic {
		return superblock{}, nil
	}

	state := binary.LittleEndian.Uint16(block[superStateAt:])

	return superblock{ext4: true, faulty: state&stateClean == 0 || state&stateErrors != 0}, nil
}
