package flash

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/stretchr/testify/require"

	"antler/image/layout"
	"antler/services/node/config/gen"
)

func now() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

const (
	mib      = 1 << 20
	bootSize = 4 * mib
	imgSize  = mib + bootSize + 3*mib
)

// makeImage writes an image with a FAT and noise as its root.
func makeImage(t *testing.T, labels ...string) string {
	t.Helper()

	path := filepath.Join(t.TempDir(), "antler.img")
	disk, err := file.CreateFromPath(path, imgSize)
	require.NoError(t, err)

	defer disk.Close()

	w, err := disk.Writable()
	require.NoError(t, err)

	table := &gpt.Table{LogicalSectorSize: layout.Sector, PhysicalSectorSize: layout.Sector, ProtectiveMBR: true}
	at := uint64(mib)

	for i, label := range labels {
		size := uint64(mib / 2)
		if label == layout.Boot {
			size = bootSize
		}

		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Start: at / layout.Sector, Size: size, Type: gpt.LinuxFilesystem, Name: label,
		})
		at += size
	}

	require.NoError(t, table.Write(w, imgSize))

	_, err = fat32.Create(disk, bootSize, mib, layout.Sector, "ANTLER", true)
	require.NoError(t, err)

	noise := make([]byte, mib/2)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(noise)
	_, err = w.WriteAt(noise, mib+bootSize)
	require.NoError(t, err)

	return path
}

// pack packs a file as a release is packed.
func pack(t *testing.T, path string) string {
	t.Helper()

	out, err := exec.Command("xz", "--keep", "-1", path).CombinedOutput()
	require.NoError(t, err, "xz (of xz-utils): %s", out)

	return path + ".xz"
}

// nodeConfig is a file that `antlerctl gen config` made.
func nodeConfig(t *testing.T) string {
	t.Helper()

	file, err := gen.ParseClusterFile([]byte("name: home\nnodes: [{name: n1, address: 192.168.1.11, replica: {device: /dev/sda1}, chunks: [{path: /srv/chunks}]}]"))
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddr("192.168.1.11"), file.Nodes[0].Address)

	secrets, err := gen.NewSecrets("home", now())
	require.NoError(t, err)
	files, err := gen.Generate(file, secrets, now())
	require.NoError(t, err)

	dir := t.TempDir()
	_, err = files.Write(dir)
	require.NoError(t, err)

	return filepath.Join(dir, "n1.yaml")
}

func options(t *testing.T, image string) Options {
	t.Helper()

	return Options{
		Image: image, Target: filepath.Join(t.TempDir(), "card"), Now: now(),
		Progress: func(string, int64, int64) {},
	}
}

func TestWriteToAFile(t *testing.T) {
	plain := makeImage(t, layout.Labels()...)

	for name, image := range map[string]string{"plain": plain, "packed": pack(t, plain)} {
		t.Run(name, func(t *testing.T) {
			o := options(t, image)
			o.Config, o.Size = nodeConfig(t), 16*mib

			var steps []string

			o.Progress = func(step string, done, total int64) {
				require.Equal(t, int64(imgSize), total)

				if done == total {
					steps = append(steps, step)
				}
			}

			result, err := Write(context.Background(), o)
			require.NoError(t, err)
			require.Equal(t, Result{Node: "n1", Bytes: imgSize}, result)
			require.Equal(t, []string{Writing, Verifying}, steps)

			requireCard(t, o, plain)
		})
	}
}

// requireCard compares a written card with the image: all but the boot partition
// is the same, and that holds the configuration.
func requireCard(t *testing.T, o Options, image string) {
	t.Helper()

	want, err := os.ReadFile(image)
	require.NoError(t, err)
	got, err := os.ReadFile(o.Target)
	require.NoError(t, err)
	require.Len(t, got, int(o.Size))
	require.True(t, bytes.Equal(want[:mib], got[:mib]), "the partition table")
	require.True(t, bytes.Equal(want[mib+bootSize:], got[mib+bootSize:imgSize]), "root and state")

	card, err := file.OpenFromPath(o.Target, true)
	require.NoError(t, err)

	defer card.Close()

	fat, err := fat32.Read(card, bootSize, mib, layout.Sector)
	require.NoError(t, err)
	f, err := fat.OpenFile("/antler.yaml", os.O_RDONLY)
	require.NoError(t, err)
	given, err := os.ReadFile(o.Config)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(len(given)), info.Size())

	// The library's Read doesn't stop at the file's end, so it is given no more room.
	text := make([]byte, info.Size())
	_, err = io.ReadFull(f, text)
	require.NoError(t, err)
	require.Equal(t, string(given), string(text))
}

func TestWriteWithoutAConfigurationIsTheImage(t *testing.T) {
	o := options(t, makeImage(t, layout.Labels()...))

	result, err := Write(context.Background(), o)
	require.NoError(t, err)
	require.Empty(t, result.Node)

	want, err := os.ReadFile(o.Image)
	require.NoError(t, err)
	got, err := os.ReadFile(o.Target)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestWriteRefuses(t *testing.T) {
	good := makeImage(t, layout.Labels()...)
	yaml := nodeConfig(t)
	put := func(text string) string {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))

		return path
	}

	for name, tc := range map[string]struct {
		edit func(*Options)
		want string
	}{
		"an image that is not there":     {func(o *Options) { o.Image = "/nowhere/antler.img" }, "open the image"},
		"another system's image":         {func(o *Options) { o.Image = makeImage(t, layout.Boot, "rootfs") }, "it has no partition antler-root-a"},
		"no image at all":                {func(o *Options) { o.Image = yaml }, "is not an image of Antler"},
		"an image cut short in the head": {func(o *Options) { o.Image = put("short") }, "is not an image of Antler"},
		"a wrong configuration":          {func(o *Options) { o.Config = put("version: 7\n") }, "version: 7 is not a version of the format"},
		"an administrator's file":        {func(o *Options) { o.Config = filepath.Join(filepath.Dir(yaml), "admin.yaml") }, "unknown key"},
		"an expired certificate":         {func(o *Options) { o.Now = now().AddDate(20, 0, 0) }, "expired"},
		"a file that is there":           {func(o *Options) { o.Target = put("precious") }, "add --erase to write over it"},
		"a file too small":               {func(o *Options) { o.Size = 2 * mib }, "give a larger --size"},
		"a disk that is not there":       {func(o *Options) { o.Target = "/dev/antler-no-such-disk" }, "see `lsblk`"},
		"a terminal":                     {func(o *Options) { o.Target = "/dev/null" }, "neither a disk nor a file"},
		"a directory":                    {func(o *Options) { o.Target = t.TempDir() }, "neither a disk nor a file"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, good)
			o.Config = yaml
			tc.edit(&o)

			before, _ := os.ReadFile(o.Target)
			_, err := Write(context.Background(), o)
			require.ErrorContains(t, err, tc.want)

			after, _ := os.ReadFile(o.Target)
			require.Equal(t, string(before), string(after), "nothing was written")
		})
	}
}

func TestAnImageThatEndsEarlyIsAnError(t *testing.T) {
	path := makeImage(t, layout.Labels()...)
	require.NoError(t, os.Truncate(path, imgSize-mib))

	_, err := Write(context.Background(), options(t, path))
	require.ErrorContains(t, err, "read the image")
	require.ErrorContains(t, err, "does not start: write it again")
}

func TestVerifyNoticesWhatACardForgot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card")
	content := bytes.Repeat([]byte("antler"), 4096)
	j := job{
		ctx: context.Background(), target: &target{path: path, size: int64(len(content))}, total: int64(len(content)),
		progress: func(string, int64, int64) {},
	}

	f, err := os.Create(path)
	require.NoError(t, err)

	defer f.Close()

	sum, err := j.write(f, bytes.NewReader(content))
	require.NoError(t, err)
	require.NoError(t, j.verify(f, sum))

	_, err = f.WriteAt([]byte{0}, 12345)
	require.NoError(t, err)
	require.ErrorContains(t, j.verify(f, sum), "does not hold what was written")
}

func TestInterruptedWriteEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err := Write(ctx, options(t, makeImage(t, layout.Labels()...)))
	require.ErrorIs(t, err, context.Canceled)
}
