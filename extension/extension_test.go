package main

import (
	"archive/tar"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"antler/extension/validate"
)

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, put(path, []byte(content), mode))
}

// index reads the layout back: the index's bytes, and the image for the
// architecture.
func index(t *testing.T, dir, arch string) ([]byte, v1.Image) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "oci/index.json"))
	require.NoError(t, err)
	path, err := layout.FromPath(filepath.Join(dir, "oci"))
	require.NoError(t, err)
	idx, err := path.ImageIndex()
	require.NoError(t, err)
	manifest, err := idx.IndexManifest()
	require.NoError(t, err)
	for _, m := range manifest.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == arch {
			img, err := path.Image(m.Digest)
			require.NoError(t, err)
			return raw, img
		}
	}
	t.Fatalf("the layout has no image for %s", arch)
	return nil, nil
}

// packed makes the images of a small stage that was made at the time at.
func packed(t *testing.T, at time.Time, names ...string) string {
	t.Helper()
	out := t.TempDir()
	stage := filepath.Join(out, "stage")
	for _, name := range names {
		write(t, filepath.Join(stage, name), "content of "+name, 0o755)
		require.NoError(t, os.Chtimes(filepath.Join(stage, name), at, at))
	}
	require.NoError(t, link(filepath.Join(stage, "rootfs/link"), names[0]))
	var images []image
	for _, arch := range []string{"amd64", "arm64"} {
		content := filepath.Join(out, arch+".tar")
		require.NoError(t, writeContent(stage, content))
		images = append(images, image{arch: arch, content: content})
	}
	require.NoError(t, writeImages(out, "v1", images))
	require.NotEqual(t, images[0].digest, images[1].digest, "an image says what it is for")
	require.Positive(t, images[0].size)
	return out
}

func TestTheSameInputsGiveTheSameImages(t *testing.T) {
	first := packed(t, time.Unix(1, 0), "manifest.yaml", "rootfs/b", "rootfs/a")
	again := packed(t, time.Now(), "manifest.yaml", "rootfs/a", "rootfs/b")
	other := packed(t, time.Unix(1, 0), "manifest.yaml", "rootfs/a", "rootfs/c")

	for _, arch := range []string{"amd64", "arm64"} {
		want, _ := index(t, first, arch)
		got, img := index(t, again, arch)
		require.Equal(t, string(want), string(got))
		differs, _ := index(t, other, arch)
		require.NotEqual(t, string(want), string(differs))

		config, err := img.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, []string{"linux", arch}, []string{config.OS, config.Architecture})

		archive, err := os.ReadFile(filepath.Join(first, "antler-"+arch+".tar"))
		require.NoError(t, err)
		second, err := os.ReadFile(filepath.Join(again, "antler-"+arch+".tar"))
		require.NoError(t, err)
		require.Equal(t, archive, second)
	}
}

func TestAPipeIsNotPacked(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "stage/socket")
	require.NoError(t, os.Mkdir(filepath.Dir(socket), 0o755))
	require.NoError(t, unix.Mkfifo(socket, 0o600))
	require.ErrorContains(t, writeContent(filepath.Dir(socket), filepath.Join(dir, "tar")), "/socket is of a type")
}

func TestTakeFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	s := stage{from: filepath.Join(dir, "debian"), to: filepath.Join(dir, "stage"), arch: "arm64"}
	write(t, filepath.Join(s.from, "usr/lib/real.so.1.2"), "library", 0o644)
	write(t, filepath.Join(s.from, "usr/sbin/tool"), "tool", 0o4711)
	require.NoError(t, link(filepath.Join(s.from, "usr/lib/real.so.1"), "real.so.1.2"))
	require.NoError(t, link(filepath.Join(s.from, "usr/sbin/alias"), "/usr/sbin/tool"))

	require.NoError(t, s.take([]string{"usr/lib/real.so.1", "usr/sbin/alias", "usr/sbin"}))

	var got []string
	require.NoError(t, walk(s.service(), func(path string, info fs.FileInfo) error {
		if !info.IsDir() {
			got = append(got, path+" "+info.Mode().String())
		}
		return nil
	}))
	require.Equal(t, []string{
		"usr/lib/real.so.1 Lrwxrwxrwx", "usr/lib/real.so.1.2 -rw-r--r--",
		"usr/sbin/alias Lrwxrwxrwx", "usr/sbin/tool -rwxr-xr-x",
	}, got)

	_, err := s.match([]string{"usr/sbin/gone*"})
	require.ErrorContains(t, err, "no package has /usr/sbin/gone*")
}

// called finds the programs that antlerd starts by name or path, and what it
// runs by a name that is a function of its own.
var called = regexp.MustCompile(`(?:\b(?:Run|run|CommandContext|command)\([^"()]*|Args: +\[\]string\{)"(?:/usr/s?bin/)?([a-z0-9.]+)"(, func\()?`)

// TestEveryProgramThatAntlerdCallsIsInside: one that is missing would be found
// out in a takeover.
func TestEveryProgramThatAntlerdCallsIsInside(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir("../services", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range called.FindAllStringSubmatch(string(source), -1) {
			if match[2] == "" {
				found[match[1]] = true
			}
		}
		return err
	})
	require.NoError(t, err)
	for _, program := range []string{"mfsmaster", "mfsmount", "mfssetquota", "drbdsetup", "mkfs.ext4", "wipefs"} {
		require.True(t, found[program], "the test no longer sees that %s is called", program)
	}
	// Talos loads modules itself (machine.kernel.modules); a service may not.
	delete(found, "modprobe")
	for program := range found {
		inside := slices.ContainsFunc(programs, func(pattern string) bool {
			matches, err := filepath.Match(filepath.Base(pattern), program)
			return err == nil && matches
		})
		require.True(t, inside, "antlerd calls %s, and the extension has no such program: add it to contents.go", program)
	}
}

// kernelModule is an ELF file that says what a kernel module says of itself.
func kernelModule(lines ...string) string {
	info := strings.Join(lines, "\x00") + "\x00"
	const names = "\x00.modinfo\x00.shstrtab\x00"
	out := make([]byte, 64)
	copy(out, "\x7fELF\x02\x01\x01")
	put16 := func(at int, v uint16) { binary.LittleEndian.PutUint16(out[at:], v) }
	put16(16, 1)
	put16(18, 183)
	put16(20, 1)
	put16(52, 64)
	put16(58, 64)
	put16(60, 3)
	put16(62, 2)
	binary.LittleEndian.PutUint64(out[40:], uint64(64+len(info)+len(names)))
	out = append(out, info+names...)
	for _, s := range [][4]uint64{{}, {1, 1, 64, uint64(len(info))}, {10, 3, uint64(64 + len(info)), uint64(len(names))}} {
		section := make([]byte, 64)
		binary.LittleEndian.PutUint32(section, uint32(s[0]))
		binary.LittleEndian.PutUint32(section[4:], uint32(s[1]))
		binary.LittleEndian.PutUint64(section[24:], s[2])
		binary.LittleEndian.PutUint64(section[32:], s[3])
		out = append(out, section...)
	}
	return string(out)
}

func TestDRBDComesWithWhatItDependsOn(t *testing.T) {
	dir := t.TempDir()
	kernel := filepath.Join(dir, "lib/modules/6.18.1")
	module := func(path string, lines ...string) {
		write(t, filepath.Join(kernel, path), kernelModule(lines...), 0o644)
	}
	write(t, filepath.Join(kernel, "modules.builtin"), "kernel/lib/libcrc32c.ko\n", 0o644)
	module("kernel/drivers/block/drbd/drbd.ko", "depends=lru_cache,libcrc32c", "vermagic=6.18.1 SMP")
	module("kernel/lib/lru-cache.ko", "depends=", "vermagic=6.18.1 SMP")
	module("kernel/fs/ext4.ko", "depends=", "vermagic=6.18.1 SMP")

	s := stage{to: filepath.Join(dir, "stage")}
	require.NoError(t, s.drbd(kernel))
	got, err := filepath.Glob(filepath.Join(s.to, "rootfs/usr/lib/modules/6.18.1/extras/*"))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, []string{"drbd.ko", "lru_cache.ko"}, []string{filepath.Base(got[0]), filepath.Base(got[1])})

	require.NoError(t, os.Rename(filepath.Join(kernel, "kernel/lib/lru-cache.ko"), filepath.Join(kernel, "kernel/lib/lru-cache.ko.xz")))
	require.ErrorContains(t, s.drbd(kernel), "lru-cache.ko.xz is compressed")
	require.NoError(t, os.Remove(filepath.Join(kernel, "kernel/lib/lru-cache.ko.xz")))
	require.ErrorContains(t, s.drbd(kernel), "has no module lru_cache")
	require.ErrorContains(t, s.drbd(filepath.Join(dir, "gone")), "look for the kernel's modules")
}

func TestUdevHasTheAppliancesRules(t *testing.T) {
	appliance, err := os.ReadFile("../image/rootfs/etc/udev/rules.d/61-antler-drbd.rules")
	require.NoError(t, err)
	require.Equal(t, string(appliance), string(rules))
}

// TestUdevsRulesAreAccepted by our checks, which then miss all the rest, and by
// Talos's.
func TestUdevsRulesAreAccepted(t *testing.T) {
	err := validate.Check([]validate.Entry{
		{Path: "rootfs/usr/lib/udev/rules.d/", Type: tar.TypeDir, Mode: fs.ModeDir | 0o755},
		{Path: "rootfs/" + udevRules, Type: tar.TypeReg, Mode: 0o644, Data: rules},
	}, build{}.want("arm64"))
	require.ErrorContains(t, err, "manifest.yaml: the file is missing")
	require.NotContains(t, err.Error(), filepath.Base(udevRules))

	dir := t.TempDir()
	manifest, err := build{version: "v1"}.manifest()
	require.NoError(t, err)
	write(t, filepath.Join(dir, "manifest.yaml"), string(manifest), 0o644)
	write(t, filepath.Join(dir, "rootfs", udevRules), string(rules), 0o644)
	loaded, err := extensions.Load(dir)
	require.NoError(t, err)
	require.NoError(t, loaded.Validate(extensions.WithValidateContents()))
}

func TestPartAndTable(t *testing.T) {
	require.Equal(t, "antler", part("rootfs/"+serviceRoot+"/usr/bin/antlerd"))
	require.Equal(t, "MooseFS", part("rootfs/"+serviceRoot+"/usr/sbin/mfsmaster"))
	require.Equal(t, "libraries", part("rootfs/"+serviceRoot+"/usr/lib/libz.so.1.3"))
	require.Equal(t, "licences", part("rootfs/"+serviceRoot+"/usr/share/doc/mfs/copyright"))
	require.Equal(t, "kernel modules", part("rootfs/usr/lib/modules/1/extras/drbd.ko"))
	require.Equal(t, "the rest", part("manifest.yaml"))

	text := table(map[string]int64{"small": 1 << 20, "large": 3 << 20})
	require.Less(t, strings.Index(text, "large"), strings.Index(text, "small"))
	require.Contains(t, text, "4.00 MiB  in all")
}

func TestModulesMakeAnImageOfTheirOwn(t *testing.T) {
	require.Equal(t, "v1", build{version: "v1"}.tag())
	require.Equal(t, "v1_2-drbd-6.18.1-talos", build{version: "v1+2", modules: "/lib/modules/6.18.1-talos"}.tag())
	err := build{archs: []string{"vax"}}.check()
	require.Error(t, err)
}
