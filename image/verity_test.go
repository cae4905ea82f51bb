package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerityTree(t *testing.T) {
	for name, blocks := range map[string]int{"one block": 1, "a full hash block": 128, "two levels": 129, "three levels": 128*128 + 1} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root")
			data := make([]byte, blocks*verityBlock)
			for i := range blocks {
				data[i*verityBlock] = byte(i)
			}
			require.NoError(t, os.WriteFile(path, data, 0o644))
			v, err := addVerity(path)
			require.NoError(t, err)
			require.Equal(t, int64(blocks), v.blocks)

			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, data, whole[:len(data)], "the data stays")
			for _, block := range []int{0, blocks / 2, blocks - 1} {
				require.True(t, verifies(whole, v, block), "block %d", block)
				whole[block*verityBlock+7] ^= 1
				require.False(t, verifies(whole, v, block), "a flipped bit in block %d", block)
				whole[block*verityBlock+7] ^= 1
			}
		})
	}
}

// verifies goes from a data block up to the root as the kernel does
// (drivers/md/dm-verity-target.c: verity_hash_at_level, verity_verify_level).
func verifies(whole []byte, v verity, block int) bool {
	const perBlock = verityBlock / sha256.Size
	var counts []int
	for n := int(v.blocks); ; {
		n = (n + perBlock - 1) / perBlock
		counts = append(counts, n)
		if n == 1 {
			break
		}
	}
	at := int(v.blocks)
	starts := make([]int, len(counts))
	for i := len(counts) - 1; i >= 0; i-- {
		starts[i] = at
		at += counts[i]
	}
	blockAt := func(n int) []byte { return whole[n*verityBlock : (n+1)*verityBlock] }
	sum, index := sha256.Sum256(blockAt(block)), block
	for _, start := range starts {
		hashes := blockAt(start + index/perBlock)
		entry := hashes[index%perBlock*sha256.Size:][:sha256.Size]
		if string(entry) != string(sum[:]) {
			return false
		}
		sum, index = sha256.Sum256(hashes), index/perBlock
	}
	return hex.EncodeToString(sum[:]) == v.hash
}

func TestVerityRefusesWhatItCannotHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	for _, size := range []int{0, 100, verityBlock + 1} {
		require.NoError(t, os.WriteFile(path, make([]byte, size), 0o644))
		_, err := addVerity(path)
		require.Error(t, err, "%d bytes", size)
	}
}

func TestArgumentsNameTheRoot(t *testing.T) {
	v := verity{blocks: 7, hash: "ab"}
	for _, arguments := range []string{arguments(v), piArguments(v)} {
		require.Contains(t, arguments+" ", " antler.root=7:ab ")
	}
}
