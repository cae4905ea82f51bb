// Package verity makes and checks the tree of hashes against which the kernel
// checks every block that it reads of the root:
// https://docs.kernel.org/admin-guide/device-mapper/verity.html
package verity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Block is the size of a data block and of a hash block in bytes.
const Block = 4096

// Argument names the root's data blocks and its hash on the kernel's command
// line: antler.root=BLOCKS:HEX
const Argument = "antler.root="

// Root is what the kernel must know of a root. There is no salt, so that the same
// root has the same hash.
type Root struct {
	Blocks int64
	// Hash in hexadecimal digits.
	Hash string
}

// Argument stands beside the kernel, in what boots it, so that a root and the
// kernel that trusts it go together.
func (r Root) Argument() string { return fmt.Sprintf("%s%d:%s", Argument, r.Blocks, r.Hash) }

// Parse returns the root that a kernel command line names. Without it there is no
// telling this root from another.
func Parse(cmdline string) (Root, error) {
	for _, word := range strings.Fields(cmdline) {
		value, ok := strings.CutPrefix(word, Argument)
		if !ok {
			continue
		}

		count, hash, _ := strings.Cut(value, ":")
		blocks, err := strconv.ParseUint(count, 10, 40)

		raw, hashErr := hex.DecodeString(hash)
		if err != nil || hashErr != nil || blocks == 0 || len(raw) != sha256.Size {
			return Root{}, fmt.Errorf("kernel argument %s is not BLOCKS:HASH", word)
		}

		return Root{Blocks: int64(blocks), Hash: hash}, nil
	}

	return Root{}, errors.New("the kernel has no argument " + Argument + ": start it with the cmdline of its own image")
}

// Size of data and tree in bytes.
func (r Root) Size() int64 {
	blocks, level := r.Blocks, r.Blocks

	for {
		level = (level + perBlock - 1) / perBlock
		blocks += level

		if level == 1 {
			return blocks * Block
		}
	}
}

const perBlock = Block / sha256.Size

// Tree hashes all that r holds, which are whole blocks, and returns the tree that
// goes behind it: the block of the top level first, the hashes of the data blocks
// last.
func Tree(r io.Reader) (Root, []byte, error) {
	level, blocks, err := hashBlocks(r)
	if err != nil {
		return Root{}, nil, err
	}

	var tree []byte

	for {
		tree = append(append([]byte{}, level...), tree...)
		if len(level) == Block {
			break
		}

		level = hashLevel(level)
	}

	root := sha256.Sum256(level)

	return Root{Blocks: blocks, Hash: hex.EncodeToString(root[:])}, tree, nil
}

// Check reads a root with its tree, and fails if they are not those that want
// names.
func Check(r io.Reader, want Root) error {
	got, tree, err := Tree(io.LimitReader(r, want.Blocks*Block))
	if err != nil {
		return err
	}

	if got != want {
		return fmt.Errorf("its hash is %s, and should be %s", got.Hash, want.Hash)
	}

	stored := make([]byte, len(tree))

	_, err = io.ReadFull(r, stored)
	if err != nil {
		return fmt.Errorf("read the tree of hashes: %w", err)
	}

	if !bytes.Equal(stored, tree) {
		return errors.New("the tree of hashes behind it is damaged")
	}

	return nil
}

// hashBlocks returns the hashes of the blocks, filled up to whole blocks.
func hashBlocks(r io.Reader) (level []byte, blocks int64, err error) {
	buffer := make([]byte, Block)

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

	for ; len(below) > 0; below = below[Block:] {
		sum := sha256.Sum256(below[:Block])
		level = append(level, sum[:]...)
	}

	return fill(level)
}

func fill(level []byte) []byte {
	return append(level, make([]byte, -len(level)&(Block-1))...)
}
