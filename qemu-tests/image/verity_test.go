//go:build vm

package image

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
)

// rootAt is where the root begins on the disk, see image/disk.go.
const rootAt = 129 << 20

// TestFlippedBit starts a node whose root differs from the one that was built in
// one bit: it must refuse, and start again when the bit is put right.
func TestFlippedBit(t *testing.T) {
	report(t, "a flipped bit in the root is refused")

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	c, m := newNode(ctx, t, "")
	flip(t, m, rootAt+100)
	require.NoError(t, m.PowerOn())

	_, err := m.Console().Wait(ctx, 0, func(line string) bool { return strings.Contains(line, "verity") && strings.Contains(line, "corrupted") })
	require.NoError(t, err, "the kernel says what is wrong")

	_, err = m.Console().Wait(ctx, 0, func(line string) bool { return strings.Contains(line, "Kernel panic") })
	require.NoError(t, err, "it does not go on")
	m.PowerCut()

	flip(t, m, rootAt+100)
	require.NoError(t, c.PowerOn(ctx, m))

	m.PowerCut()
	requireNoKey(t, m)
}

// flip changes the lowest bit of one byte of the machine's disk.
func flip(t *testing.T, m *lab.Machine, at int64) {
	t.Helper()

	disk, err := os.OpenFile(m.Dir+"/system.img", os.O_RDWR, 0)
	require.NoError(t, err)

	defer disk.Close()

	b := make([]byte, 1)
	_, err = disk.ReadAt(b, at)
	require.NoError(t, err)

	b[0] ^= 1
	_, err = disk.WriteAt(b, at)
	require.NoError(t, err)
}
