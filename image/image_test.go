package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/require"

	"antler/image/slots"
	"antler/image/verity"
)

func TestLayoutDoesNotOverlap(t *testing.T) {
	extents := extentsOf(64 * mib)
	require.Len(t, extents, 4)
	at := int64(mib)
	for _, s := range extents {
		require.Equal(t, at, s.start, s.label)
		require.Zero(t, s.start%mib, "%s is aligned", s.label)
		at += s.size
	}
	require.Equal(t, at+mib, diskSize(extents))
}

func TestTableReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	extents := extentsOf(64 * mib)
	require.NoError(t, writeTable(path, extents))
	disk, err := file.OpenFromPath(path, true)
	require.NoError(t, err)
	defer disk.Close()
	got, err := gpt.Read(disk, sector, sector)
	require.NoError(t, err)
	var parts []*gpt.Partition
	for _, p := range got.Partitions {
		if p.Type != gpt.Unused {
			parts = append(parts, p)
		}
	}
	require.Len(t, parts, len(extents))
	for i, s := range extents {
		require.Equal(t, s.label, parts[i].Name)
		require.Equal(t, s.start, int64(parts[i].Start)*sector)
		require.Equal(t, s.start+s.size, int64(parts[i].End+1)*sector)
	}
}

func TestCopyIntoRefusesWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "squash")
	require.NoError(t, os.WriteFile(from, make([]byte, 4096), 0o644))
	err := copyInto(filepath.Join(dir, "disk"), extent{label: "antler-root-a", size: 2048}, from)
	require.ErrorContains(t, err, "antler-root-a")
}

func TestCpioIsReadByCpio(t *testing.T) {
	tool, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	var archive bytes.Buffer
	c := &cpio{w: &archive}
	c.entry("dev", modeDir|0o755, 0, nil)
	c.entry("dev/console", modeChar|0o600, 5<<8|1, nil)
	c.entry("init", modeFile|0o755, 0, []byte("odd"))
	require.NoError(t, c.close())

	cmd := exec.Command(tool, "-itv", "--quiet")
	cmd.Stdin = &archive
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 3)
	require.Regexp(t, `^drwxr-xr-x .* dev$`, lines[0])
	require.Regexp(t, `^crw------- .* 5, +1 .* dev/console$`, lines[1])
	require.Regexp(t, `^-rwxr-xr-x .* 3 .* init$`, lines[2])
}

// TestPutDoesNotWriteThroughHardLinks guards the cache: a staged tree shares
// its files with the base tree.
func TestPutDoesNotWriteThroughHardLinks(t *testing.T) {
	dir := t.TempDir()
	cached, staged := filepath.Join(dir, "cached"), filepath.Join(dir, "staged")
	require.NoError(t, os.WriteFile(cached, []byte("Debian's"), 0o644))
	require.NoError(t, os.Link(cached, staged))
	require.NoError(t, put(staged, []byte("ours"), 0o600))
	got, err := os.ReadFile(cached)
	require.NoError(t, err)
	require.Equal(t, "Debian's", string(got))
}

func TestPiBootHasWhatTheFirmwareReads(t *testing.T) {
	base, boot := t.TempDir(), t.TempDir()
	files := []string{"usr/lib/linux-image-6.12/broadcom/bcm2711-rpi-4-b.dtb", piLoader}
	for _, name := range piFirmware {
		files = append(files, filepath.Join(firmwareDir, name))
	}
	for _, name := range files {
		require.ErrorContains(t, makePiBoot(base, boot), "Raspberry Pi", "without %s", name)
		require.NoError(t, put(filepath.Join(base, "root", name), []byte(name), 0o644))
	}
	require.NoError(t, makePiBoot(base, boot))

	config, err := os.ReadFile(filepath.Join(boot, "config.txt"))
	require.NoError(t, err)
	require.Contains(t, string(config), "kernel=u-boot.bin\n")
	require.FileExists(t, filepath.Join(boot, "u-boot.bin"))
	require.FileExists(t, filepath.Join(boot, "bcm2711-rpi-4-b.dtb"))
}

func TestArgumentsNameTheRoot(t *testing.T) {
	root := verity.Root{Blocks: 7, Hash: "ab"}
	require.Contains(t, arguments(root, "")+" ", " antler.root=7:ab ")
	require.NotContains(t, arguments(root, ""), "console=", "a board's console is the boot loader's to say")
	require.Regexp(t, "^console=ttyAMA0 .* antler.slot=a$", byHand(root, ""))
}

func TestArgumentsSayWhetherThereIsK3s(t *testing.T) {
	root := verity.Root{Blocks: 7, Hash: "ab"}
	require.False(t, slots.HasK3s(arguments(root, "")))
	require.True(t, slots.HasK3s(arguments(root, "v1.33.1+k3s1")))

	_, err := slots.ParseEntry(slots.Entry(arguments(root, "v1.33.1+k3s1")))
	require.NoError(t, err)
	require.True(t, slots.HasK3s(byHand(root, "v1.33.1+k3s1")))
	require.False(t, slots.HasK3s("antler.k3s= x.antler.k3s=v1"), "named by nobody")
}
