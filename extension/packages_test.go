//go:build packages

package main

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"
)

// These tests build the extension from Debian's packages: `make test-extension`.

func made(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "extension")
	b := build{out: out, cache: "../build/cache", bin: "../build/bin", version: "test", archs: []string{"arm64", "amd64"}}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	require.NoError(t, b.run(t.Context(), log))
	text, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	t.Log("\n" + string(text))
	return out
}

func TestTwoBuildsAreTheSame(t *testing.T) {
	first, second := made(t), made(t)
	for _, arch := range []string{"arm64", "amd64"} {
		a, imageA := index(t, first, arch)
		b, imageB := index(t, second, arch)
		require.Equal(t, string(a), string(b))
		digestA, err := imageA.Digest()
		require.NoError(t, err)
		digestB, err := imageB.Digest()
		require.NoError(t, err)
		require.Equal(t, digestA, digestB)
	}
}

// TestEveryProgramFindsItsLibraries has the loader in the image itself resolve
// the libraries of each program, for the architecture of this machine.
func TestEveryProgramFindsItsLibraries(t *testing.T) {
	root := filepath.Join(unpack(t, made(t)), "rootfs", serviceRoot)
	loader := map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}[runtime.GOARCH]
	count := 0
	for _, pattern := range []string{"usr/bin/*", "usr/sbin/*", "usr/lib/drbd/*"} {
		programs, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, program := range programs {
			inside := strings.TrimPrefix(program, root)
			if slices.Contains(ours, filepath.Base(inside)) { // static
				continue
			}
			out, err := exec.CommandContext(t.Context(), "chroot", root, loader, "--list", inside).CombinedOutput()
			require.NoError(t, err, "%s: %s", inside, out)
			require.NotContains(t, string(out), "not found", inside)
			count++
		}
	}
	require.Greater(t, count, 20)

	for _, command := range [][]string{{"/usr/bin/antlerd", "--version"}, {"/usr/bin/antler-fence", "split-brain"}, {"/usr/sbin/mfsmaster", "-v"}, {"/usr/bin/sh", "-c", "exit 0"}} {
		out, err := exec.CommandContext(t.Context(), "chroot", append([]string{root}, command...)...).CombinedOutput()
		require.NoError(t, err, "%v: %s", command, out)
	}
}

// TestDrbdadmAgreesWithUsAboutDRBD9 has the program read what antlerd writes for
// DRBD 9, and say which commands it would give: they are those that antlerd gives
// itself (services/replication/nine.go). Nothing is carried out.
func TestDrbdadmAgreesWithUsAboutDRBD9(t *testing.T) {
	if _, err := os.Stat("/sys/module/drbd"); err == nil {
		t.Skip("drbdadm speaks the language of the module that is loaded here")
	}
	root := filepath.Join(unpack(t, made(t)), "rootfs", serviceRoot)
	config, err := os.ReadFile("../services/replication/testdata/nine/n1.res")
	require.NoError(t, err)
	require.NoError(t, put(filepath.Join(root, "tmp/n1.res"), config, 0o644))
	drbdadm := func(command ...string) string {
		args := append([]string{root, "/usr/bin/env", "__DRBD_NODE__=n1", "/usr/sbin/drbdadm", "-c", "/tmp/n1.res"}, command...)
		out, err := exec.CommandContext(t.Context(), "chroot", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Contains(t, drbdadm("dump", "meta"), "on-no-quorum     suspend-io;")
	for want, command := range map[string][]string{
		"drbdsetup primary meta\n":           {"primary", "meta"},
		"drbdsetup secondary meta --force\n": {"secondary", "meta", "--force"},
		"drbdsetup disconnect meta 1\n":      {"disconnect", "meta"},
		"--quorum=2":                         {"new-resource", "meta"},
	} {
		require.Contains(t, drbdadm(append([]string{"-d"}, command...)...), want)
	}
}

// unpack writes the files of the image for this machine's architecture.
func unpack(t *testing.T, out string) string {
	t.Helper()
	_, img := index(t, out, runtime.GOARCH)
	to := t.TempDir()
	stream := mutate.Extract(img)
	defer stream.Close()
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return to
		}
		require.NoError(t, err)
		path := filepath.Join(to, header.Name)
		switch header.Typeflag {
		case tar.TypeDir:
			require.NoError(t, os.MkdirAll(path, 0o755))
		case tar.TypeSymlink:
			require.NoError(t, link(path, header.Linkname))
		default:
			data, err := io.ReadAll(archive)
			require.NoError(t, err)
			require.NoError(t, put(path, data, fs.FileMode(header.Mode)))
		}
	}
}
