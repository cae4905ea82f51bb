package flash

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine lays out /sys and /proc as the kernel does: a disk sdx (8:16) of 4 GiB
// with partitions sdx1 (8:17) and sdx2 (8:18).
func machine(t *testing.T) string {
	t.Helper()

	root := t.TempDir()
	disk := filepath.Join(root, "sys/devices/usb/block/sdx")

	for path, text := range map[string]string{
		"dev": "8:16\n", "ro": "0\n", "size": "8388608\n",
		"sdx1/dev": "8:17\n", "sdx1/partition": "1\n", "sdx2/dev": "8:18\n", "sdx2/partition": "2\n",
	} {
		put(t, filepath.Join(disk, path), text)
	}

	for number, dir := range map[string]string{"8:16": disk, "8:17": filepath.Join(disk, "sdx1"), "8:18": filepath.Join(disk, "sdx2")} {
		link(t, dir, filepath.Join(root, "sys/dev/block", number))
	}

	put(t, filepath.Join(root, "proc/self/mountinfo"), "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	put(t, filepath.Join(root, "proc/swaps"), "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition\t1000\t0\t-2\n")

	return root
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func link(t *testing.T, to, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.Symlink(to, path))
}

func TestCheckDiskTakesAFreeDisk(t *testing.T) {
	size, err := checkDisk(machine(t), "/dev/sdx", "8:16", 1<<30)
	require.NoError(t, err)
	require.Equal(t, int64(4<<30), size)
}

func TestCheckDiskRefuses(t *testing.T) {
	const need = 1 << 30

	sdx := func(root string) string { return filepath.Join(root, "sys/devices/usb/block/sdx") }
	mounted := func(t *testing.T, root, line string) {
		put(t, filepath.Join(root, "proc/self/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"+line+"\n")
	}

	for name, tc := range map[string]struct {
		edit   func(t *testing.T, root string)
		number string
		want   string
	}{
		"a partition": {func(*testing.T, string) {}, "8:17", "is a partition: name the whole disk, /dev/sdx"},
		"a mounted partition": {func(t *testing.T, root string) {
			mounted(t, root, "40 22 8:18 / /media/photos rw,nosuid shared:9 - vfat /dev/sdx2 rw")
		}, "8:16", "sdx2 is mounted on /media/photos"},
		"a mounted disk without partitions": {func(t *testing.T, root string) {
			mounted(t, root, "40 22 8:16 / /mnt rw - ext4 /dev/sdx rw")
		}, "8:16", "sdx is mounted on /mnt"},
		"a file system with a number of its own": {func(t *testing.T, root string) {
			mounted(t, root, "40 22 0:52 /home /home rw - btrfs /dev/sdx1 rw,subvol=/home")
		}, "8:16", "sdx1 is mounted on /home"},
		"swap": {func(t *testing.T, root string) {
			put(t, filepath.Join(root, "proc/swaps"), "Filename\tType\n/dev/sdx2                               partition\t1\n")
		}, "8:16", "sdx2 is swap"},
		"a mounted logical volume": {func(t *testing.T, root string) {
			volume := filepath.Join(root, "sys/devices/virtual/block/dm-0")
			put(t, filepath.Join(volume, "dev"), "253:0\n")
			link(t, volume, filepath.Join(sdx(root), "sdx1/holders/dm-0"))
			mounted(t, root, "40 22 253:0 / /srv rw - xfs /dev/mapper/vg-srv rw")
		}, "8:16", "dm-0 is mounted on /srv, sdx1 belongs to dm-0"},
		"a member of an array": {func(t *testing.T, root string) {
			array := filepath.Join(root, "sys/devices/virtual/block/md0")
			put(t, filepath.Join(array, "dev"), "9:0\n")
			link(t, array, filepath.Join(sdx(root), "holders/md0"))
		}, "8:16", "sdx belongs to md0"},
		"the lock switch": {func(t *testing.T, root string) { put(t, filepath.Join(sdx(root), "ro"), "1\n") }, "8:16", "is write-protected"},
		"no card":         {func(t *testing.T, root string) { put(t, filepath.Join(sdx(root), "size"), "0\n") }, "8:16", "is a card in the reader?"},
		"a small card":    {func(t *testing.T, root string) { put(t, filepath.Join(sdx(root), "size"), "1048576\n") }, "8:16", "has 512 MiB, and the image needs 1024"},
		"no such disk":    {func(*testing.T, string) {}, "8:99", "look at /dev/sdx"},
	} {
		t.Run(name, func(t *testing.T) {
			root := machine(t)
			tc.edit(t, root)

			_, err := checkDisk(root, "/dev/sdx", tc.number, need)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestCheckBlank(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, make([]byte, 2<<20), 0o600))
	require.NoError(t, checkBlank(disk))

	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("EFI PART"), 512)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorContains(t, checkBlank(disk), "add --erase")
}
