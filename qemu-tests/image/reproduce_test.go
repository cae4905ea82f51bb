//go:build vm

// Package image holds the promises about the disk image: that it is built to the
// same bytes each time, and that what `antlerctl flash` writes boots.
package image

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../"

// TestSameInputsSameBytes builds the image twice from the locked packages, in
// two places and with nothing taken over but the packages' archives.
func TestSameInputsSameBytes(t *testing.T) {
	report(t, "the same inputs give the same bytes")

	builder := filepath.Join(t.TempDir(), "image")
	run(t, "go", "build", "-o", builder, "./image")

	first, second := t.TempDir(), filepath.Join(t.TempDir(), "another", "place")
	for _, dir := range []string{first, second} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "cache"), 0o755))

		archives, err := filepath.Abs(root + "build/cache/debs")
		require.NoError(t, err)
		require.NoError(t, os.Symlink(archives, filepath.Join(dir, "cache/debs")))
		run(t, builder, "-o", filepath.Join(dir, "out"), "-cache", filepath.Join(dir, "cache"), "-bin", "build/bin/arm64", "-version", "test")
	}

	for _, name := range []string{"root.squashfs", "initrd.img", "vmlinuz", "antler.img", "antler.spdx.json", "packages.lock", "sizes.txt"} {
		requireSame(t, filepath.Join(first, "out", name), filepath.Join(second, "out", name))
	}
}

// TestSizes is about the image as it was built: the blank slot takes no room.
func TestSizes(t *testing.T) {
	figures := report(t, "the image is sparse")

	size, taken := mebibytes(t, "build/image/antler.img")
	_, root := mebibytes(t, "build/image/root.squashfs")
	figures["image_mib"], figures["image_taken_mib"], figures["root_mib"] = size, taken, root
	require.Less(t, taken, root+60, "the root, what is on the boot partition, and a little")
}

// run runs a command at the top of the source tree.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()

	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v:\n%s", name, args, out)

	return string(out)
}

// requireSame compares two files block by block: they are large.
func requireSame(t *testing.T, one, other string) {
	t.Helper()

	a, err := os.Open(one)
	require.NoError(t, err)

	defer a.Close()

	b, err := os.Open(other)
	require.NoError(t, err)

	defer b.Close()

	const block = 1 << 20

	for at := 0; ; at += block {
		left, errA := io.ReadAll(io.LimitReader(a, block))
		right, errB := io.ReadAll(io.LimitReader(b, block))

		require.NoError(t, errA)
		require.NoError(t, errB)
		require.True(t, bytes.Equal(left, right), "%s differs between the builds in the MiB at %d", filepath.Base(one), at)

		if len(left) == 0 {
			return
		}
	}
}
