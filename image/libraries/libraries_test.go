package libraries

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// other is an architecture that this test does not run on.
func other() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func TestCheck(t *testing.T) {
	root := t.TempDir()
	write(t, root, "usr/bin/script", "#!/bin/sh\n")
	write(t, root, "usr/bin/empty", "")
	require.NoError(t, Tree{root, "arm64"}.Check(), "what is no program needs nothing")

	// The test binary itself is an ELF file for the machine that builds.
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	write(t, root, "usr/bin/foreign", string(self))
	require.ErrorContains(t, Tree{root, other()}.Check(), "read /usr/bin/foreign: is for EM_")

	write(t, root, "usr/bin/broken", "\x7fELF and nothing else")
	require.ErrorContains(t, Tree{root, runtime.GOARCH}.Check(), "read /usr/bin/broken")
	require.ErrorContains(t, Tree{root, "vax"}.Check(), "vax is not known")
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for _, lib := range []string{"usr/lib/aarch64-linux-gnu/libc.so.6", "usr/lib/aarch64-linux-gnu/systemd/libshared.so", "opt/app/lib/libapp.so"} {
		write(t, root, lib, "")
	}
	tree := Tree{root, "arm64"}
	arm, err := machineOf("arm64")
	require.NoError(t, err)
	require.Equal(t, "usr/lib/aarch64-linux-gnu/libc.so.6", tree.find(arm, "opt/app/bin", nil, "libc.so.6"))
	require.Empty(t, tree.find(arm, "opt/app/bin", nil, "libshared.so"))
	require.NotEmpty(t, tree.find(arm, "opt/app/bin", []string{"/usr/lib/aarch64-linux-gnu/systemd"}, "libshared.so"))
	require.Equal(t, "opt/app/lib/libapp.so", tree.find(arm, "opt/app/bin", []string{"$ORIGIN/../lib"}, "libapp.so"))
}

func TestMerged(t *testing.T) {
	require.Equal(t, "usr/lib/ld-linux-aarch64.so.1", merged("/lib/ld-linux-aarch64.so.1"))
	require.Equal(t, "usr/lib64/ld-linux-x86-64.so.2", merged("/lib64/ld-linux-x86-64.so.2"))
	require.Equal(t, "opt/lib", merged("/opt/lib"))
}

// TestNeededOfThisMachine takes a program of the machine that runs the test with
// what is found for it into a root of its own, and has nothing missing there.
func TestNeededOfThisMachine(t *testing.T) {
	here := Tree{"/", runtime.GOARCH}
	const program = "usr/bin/tar"
	if _, err := os.Stat("/" + program); err != nil {
		t.Skip("this machine has no " + program)
	}
	needed, err := here.Needed([]string{program})
	if err != nil {
		t.Skip("this machine keeps its libraries elsewhere: ", err)
	}
	require.NotEmpty(t, needed)

	root := t.TempDir()
	for _, path := range append(needed, program) {
		content, err := os.ReadFile("/" + path)
		require.NoError(t, err)
		write(t, root, path, string(content))
	}
	there := Tree{root, runtime.GOARCH}
	require.NoError(t, there.Check())
	require.NoError(t, os.Remove(filepath.Join(root, needed[len(needed)-1])))
	_, err = there.Needed([]string{program})
	require.Error(t, err, "one library less is one too few")
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.WriteString(f, content)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
