package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTalosPacksTheExtension looks what a node would find in an initramfs with the
// extension.
func TestTalosPacksTheExtension(t *testing.T) {
	oci := filepath.Join(os.Getenv("ANTLER_EXTENSION"), "oci")
	if _, err := os.Stat(oci); err != nil {
		t.Fatalf("%v: run \"make test-talos-pack\"", err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			initramfs := packed(t, oci, arch)
			files := archives(t, run(t, "zstd", "-dc", initramfs))
			require.Contains(t, files, "hello", "what was there before stays")
			require.Contains(t, string(files["extensions.yaml"]), "name: antler")

			image := filepath.Join(t.TempDir(), "antler.sqsh")
			require.NotEmpty(t, files["000.antler.sqsh"])
			require.NoError(t, os.WriteFile(image, files["000.antler.sqsh"], 0o600))
			list := string(run(t, "unsquashfs", "-ll", image))
			const root = "squashfs-root/usr/local/"
			require.Regexp(t, `(?m)^-rwxr-xr-x root/root .* `+root+`lib/containers/antler/usr/bin/antlerd$`, list)
			require.Regexp(t, `(?m)^-rwxr-xr-x root/root .* `+root+`lib/containers/antler/usr/bin/antler-fence$`, list)
			require.Regexp(t, `(?m)^-rwxr-xr-x root/root .* `+root+`lib/containers/antler/usr/sbin/mfsmaster$`, list)
			require.Regexp(t, `(?m)^-rw-r--r-- root/root .* `+root+`etc/containers/antler.yaml$`, list)
			require.Regexp(t, `(?m)^drwxr-xr-x root/root .* `+root+`lib/containers/antler$`, list)
		})
	}
}

// packed returns the path of an initramfs with the extension in it.
func packed(t *testing.T, oci, arch string) string {
	t.Helper()
	dir := t.TempDir()
	before := filepath.Join(dir, "before")
	require.NoError(t, os.MkdirAll(before, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(before, "hello"), []byte("hi\n"), 0o600))
	from, to := filepath.Join(dir, "initramfs.zst"), filepath.Join(dir, "packed.zst")
	run(t, "sh", "-c", `cd "$0" && find . | cpio --quiet -o -H newc | zstd -q -o "$1"`, before, from)
	require.NoError(t, pack(t.Context(), oci, arch, from, to, t.Logf))
	return to
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var problems bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", name, problems.String())
	return out
}

// archives reads the files of cpio archives ("newc") that follow one another, as
// the kernel does.
func archives(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	const headerSize = 110
	files := map[string][]byte{}
	for at := 0; at+headerSize <= len(data); {
		if data[at] == 0 { // padding between archives
			at++
			continue
		}
		header := data[at : at+headerSize]
		require.Equal(t, "070701", string(header[:6]), "at %d", at)
		size, nameSize := field(t, header, 6), field(t, header, 11)
		nameEnd := at + headerSize + nameSize
		begin := align(nameEnd)
		require.LessOrEqual(t, begin+size, len(data))
		name := filepath.Clean(string(data[at+headerSize : nameEnd-1]))
		if name != "TRAILER!!!" {
			files[name] = data[begin : begin+size]
		}
		at = align(begin + size)
	}
	return files
}

// field is one of the thirteen hexadecimal numbers after the magic.
func field(t *testing.T, header []byte, n int) int {
	t.Helper()
	value, err := strconv.ParseInt(string(header[6+8*n:14+8*n]), 16, 64)
	require.NoError(t, err, fmt.Sprintf("field %d of %q", n, header))
	return int(value)
}

func align(at int) int { return (at + 3) &^ 3 }
