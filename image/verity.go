package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// verityBlock is the size of a data block and of a hash block.
const verityBlock = 4096

// verity is what the kernel needs to check every block it reads of the root:
// https://docs.kernel.org/admin-guide/device-mapper/verity.html
type verity struct {
	blocks int64
	hash   string
}

// argument is the kernel argument that image/init reads. It stands beside the
// kernel, in what boots it, so that a root and the kernel that trusts it go
// together.
func (v verity) argument() string { return fmt.Sprintf("antler.root=%d:%s", v.blocks, v.hash) }

// addVerity appends the tree of hashes to the file: the block of the top level
// first, the hashes of the data blocks last. There is no salt, so that the same
// root has the same hash.
func addVerity(path string) (verity, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return verity{}, err
	}
	defer f.Close()
	level, blocks, err := hashBlocks(f)
	if err != nil {
		return verity{}, fmt.Errorf("hash %s: %w", path, err)
	}
	var tree []byte
	for {
		tree = append(append([]byte{}, level...), tree...)
		if len(level) == verityBlock {
			break
		}
		level = hashLevel(level)
	}
	if _, err := f.WriteAt(tree, blocks*verityBlock); err != nil {
		return verity{}, err
	}
	root := sha256.Sum256(level)
	return verity{blocks: blocks, hash: hex.EncodeToString(root[:])}, f.Close()
}

// hashBlocks returns the hashes of the file's blocks, filled up to whole blocks.
func hashBlocks(r io.Reader) (level []byte, blocks int64, err error) {
	buffer := make([]byte, verityBlock)
	for {
		_, err := io.ReadFull(r, buffer)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err // a part of a block as well: mksquashfs pads
		}
		sum := sha256.Sum256(buffer)
		level = append(level, sum[:]...)
		blocks++
	}
	if blocks == 0 {
		return nil, 0, errors.New("it is empty")
	}
	return fill(level), blocks, nil
}

// hashLevel returns the hashes of a level's blocks.
func hashLevel(below []byte) []byte {
	var level []byte
	for ; len(below) > 0; below = below[verityBlock:] {
		sum := sha256.Sum256(below[:verityBlock])
		level = append(level, sum[:]...)
	}
	return fill(level)
}

func fill(level []byte) []byte {
	return append(level, make([]byte, -len(level)&(verityBlock-1))...)
}
