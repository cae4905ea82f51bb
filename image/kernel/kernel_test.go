package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrder(t *testing.T) {
	mods := map[string]moduleFile{
		"crc32c_generic": {file: "crypto/crc32c_generic.ko"},
		"ext4":           {file: "fs/ext4.ko", deps: []string{"fs/jbd2.ko", "lib/crc16.ko"}},
		"jbd2":           {file: "fs/jbd2.ko", deps: []string{"lib/crc16.ko"}},
		"crc16":          {file: "lib/crc16.ko"},
		"virtio_blk":     {file: "drivers/virtio-blk.ko", deps: []string{"drivers/virtio-ring.ko"}},
		"broken":         {file: "broken.ko", deps: []string{"gone.ko"}},
	}
	builtin := map[string]bool{"virtio_ring": true}

	got, err := order(mods, builtin, []string{"virtio_blk", "crc32c_generic", "ext4", "crc16"})
	require.NoError(t, err)
	require.Equal(t, []string{"drivers/virtio-blk.ko", "crypto/crc32c_generic.ko", "lib/crc16.ko", "fs/jbd2.ko", "fs/ext4.ko"}, got)

	_, err = order(mods, builtin, []string{"broken"})
	require.EqualError(t, err, "needed by broken: the kernel has no module gone")
}

func TestLoadOrderReadsTheIndex(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadOrder(dir, []string{"ext4"})
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.dep"), []byte("kernel/fs/ext4.ko: kernel/fs/jbd2.ko\nkernel/fs/jbd2.ko:\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/drivers/virtio/virtio-blk.ko\n"), 0o644))

	files, err := LoadOrder(dir, []string{"virtio_blk", "ext4"})
	require.NoError(t, err)
	require.Equal(t, []string{"kernel/fs/jbd2.ko", "kernel/fs/ext4.ko"}, files)
}

func TestOneKernelIsWanted(t *testing.T) {
	root := t.TempDir()
	_, err := Release(root)
	require.ErrorContains(t, err, "found 0")

	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/lib/modules/6.12"), 0o755))
	release, err := Release(root)
	require.NoError(t, err)
	require.Equal(t, "6.12", release)

	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/lib/modules/7.2"), 0o755))
	_, err = Release(root)
	require.ErrorContains(t, err, "found 2")
}
