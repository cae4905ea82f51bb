//go:build vm

package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFlashToADisk writes to a real block device, a loop device, and sees that
// one that is in use is left alone.
func TestFlashToADisk(t *testing.T) {
	report(t, "flash writes a real disk, and leaves one alone that is in use")

	const size = 1 << 30

	dir := t.TempDir()
	backing := filepath.Join(dir, "card")
	f, err := os.Create(backing)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())

	card := strings.TrimSpace(run(t, "losetup", "--find", "--show", backing))

	t.Cleanup(func() { run(t, "losetup", "--detach", card) })

	require.Contains(t, flash(t, card), card+": written and read back")
	require.Contains(t, refused(t, card), "is not blank: add --erase")
	require.Contains(t, flash(t, card, "--erase"), card+": written and read back")

	mountPoint := filepath.Join(dir, "mounted")
	require.NoError(t, os.Mkdir(mountPoint, 0o755))
	run(t, "mkfs.ext4", "-q", "-F", card)
	run(t, "mount", card, mountPoint)

	t.Cleanup(func() { run(t, "umount", mountPoint) })

	precious := filepath.Join(mountPoint, "precious")
	require.NoError(t, os.WriteFile(precious, []byte("photos"), 0o600))
	require.Contains(t, refused(t, card, "--erase"), "is mounted on "+mountPoint)

	text, err := os.ReadFile(precious)
	require.NoError(t, err)
	require.Equal(t, "photos", string(text))
}

func flash(t *testing.T, card string, more ...string) string {
	t.Helper()

	return run(t, "build/bin/antlerctl", append([]string{"flash", "build/image/antler.img", card}, more...)...)
}

// refused runs a flash that must fail and returns what it said.
func refused(t *testing.T, card string, more ...string) string {
	t.Helper()

	cmd := exec.Command("build/bin/antlerctl", append([]string{"flash", "build/image/antler.img", card}, more...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)

	return string(out)
}
