package verity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerityTree(t *testing.T) {
	for name, blocks := range map[string]int{"one block": 1, "a full hash block": 128, "two levels": 129, "three levels": 128*128 + 1} {
		t.Run(name, func(t *testing.T) {
			data := make([]byte, blocks*Block)
			for i := range blocks {
				data[i*Block] = byte(i)
			}
			v, tree, err := Tree(bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, int64(blocks), v.Blocks)

			whole := append(data, tree...)
			require.Equal(t, int64(len(whole)), v.Size())
			require.NoError(t, Check(bytes.NewReader(whole), v))

			whole[len(whole)-1] ^= 1
			require.ErrorContains(t, Check(bytes.NewReader(whole), v), "tree of hashes")
			whole[len(whole)-1] ^= 1

			parsed, err := Parse("quiet " + v.Argument() + "\n")
			require.NoError(t, err)
			require.Equal(t, v, parsed)

			for _, block := range []int{0, blocks / 2, blocks - 1} {
				require.True(t, verifies(whole, v, block), "block %d", block)
				whole[block*Block+7] ^= 1
				require.False(t, verifies(whole, v, block), "a flipped bit in block %d", block)
				require.ErrorContains(t, Check(bytes.NewReader(whole), v), "its hash is")
				whole[block*Block+7] ^= 1
			}
		})
	}
}

// verifies goes from a data block up to the root as the kernel does
// (drivers/md/dm-verity-target.c: verity_hash_at_level, verity_verify_level).
func verifies(whole []byte, v Root, block int) bool {
	const perBlock = Block / sha256.Size
	var counts []int
	for n := int(v.Blocks); ; {
		n = (n + perBlock - 1) / perBlock
		counts = append(counts, n)
		if n == 1 {
			break
		}
	}
	at := int(v.Blocks)
	starts := make([]int, len(counts))
	for i := len(counts) - 1; i >= 0; i-- {
		starts[i] = at
		at += counts[i]
	}
	blockAt := func(n int) []byte { return whole[n*Block : (n+1)*Block] }
	sum, index := sha256.Sum256(blockAt(block)), block
	for _, start := range starts {
		hashes := blockAt(start + index/perBlock)
		entry := hashes[index%perBlock*sha256.Size:][:sha256.Size]
		if string(entry) != string(sum[:]) {
			return false
		}
		sum, index = sha256.Sum256(hashes), index/perBlock
	}
	return hex.EncodeToString(sum[:]) == v.Hash
}

func TestVerityRefusesWhatItCannotHash(t *testing.T) {
	for _, size := range []int{0, 100, Block + 1} {
		_, _, err := Tree(bytes.NewReader(make([]byte, size)))
		require.Error(t, err, "%d bytes", size)
	}
}

func TestParseRefuses(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	for _, cmdline := range []string{
		"", "console=tty0", "antler.root=", "antler.root=12", "antler.root=12:zz", "antler.root=0:" + hash,
		"antler.root=-1:" + hash, "antler.root=12:" + hash[2:], "antler.root=12:" + hash + "00",
	} {
		_, err := Parse(cmdline)
		require.ErrorContains(t, err, "antler.root=", cmdline)
	}
}
