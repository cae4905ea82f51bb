package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestLockFileIsThatOfThePackageList(t *testing.T) {
	l, err := parseLock(lockText)
	require.NoError(t, err)
	require.NoError(t, l.matches(wantedPackages()))
	require.Equal(t, lockText, l.String(), "the file is as the program writes it")
	names := map[string]bool{}
	for _, p := range l.packages {
		names[p.name] = true
	}
	for _, name := range packages {
		require.True(t, names[name], "%s is wanted and not locked", name)
	}
	require.ErrorContains(t, l.matches("another list"), "make image-lock")
}

func TestParseLockRefuses(t *testing.T) {
	sum := sumOf("x")
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"# empty\n", "names no packages"},
		"a field too few":   {"wanted x\nkmod 1 arm64\n", "line 2"},
		"no hash":           {"kmod 1 arm64 abc\n", "line 1"},
		"twice":             {"kmod 1 arm64 " + sum + "\nkmod 2 arm64 " + sum + "\n", "kmod is out of order or there twice"},
		"edited by a human": {"udev 1 arm64 " + sum + "\nkmod 2 arm64 " + sum + "\n", "kmod is out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseLock(c.text)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLockOfReadsArchives(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"iproute2_6.15.0-1_arm64.deb", "fuse3_1%3a3.17-1+b1_arm64.deb", "adduser_3.152_all.deb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	got, err := lockOf(dir, "w")
	require.NoError(t, err)
	require.Equal(t, lock{wanted: "w", packages: []locked{
		{"adduser", "3.152", "all", sumOf("adduser_3.152_all.deb")},
		{"fuse3", "1:3.17-1+b1", "arm64", sumOf("fuse3_1%3a3.17-1+b1_arm64.deb")},
		{"iproute2", "6.15.0-1", "arm64", sumOf("iproute2_6.15.0-1_arm64.deb")},
	}}, got)

	_, err = lockOf(t.TempDir(), "w")
	require.Error(t, err, "no archives are no package set")
}

func TestLockChanges(t *testing.T) {
	before := lock{packages: []locked{{name: "a", version: "1"}, {name: "b", version: "1"}, {name: "c", version: "1"}}}
	after := lock{packages: []locked{{name: "a", version: "1"}, {name: "b", version: "2"}, {name: "d", version: "1"}}}
	require.Equal(t, []string{"changed  b 1 -> 2", "new      d 1", "removed  c 1"}, before.changes(after))
}

func TestUnpackRefusesAnArchiveThatIsNotTheLockedOne(t *testing.T) {
	debs := debCache{dir: t.TempDir()}
	p := locked{"kmod", "1", "arm64", sumOf("the real one")}
	require.NoError(t, os.WriteFile(debs.path(p), []byte("another"), 0o644))
	err := debs.unpack(context.Background(), lock{packages: []locked{p}}, t.TempDir())
	require.ErrorContains(t, err, "is damaged")
}

func TestMergedWantsLinks(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"bin", "sbin"} {
		require.NoError(t, os.Symlink("usr/"+name, filepath.Join(root, name)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "lib"), 0o755))
	err := merged(root)
	require.ErrorContains(t, err, "/lib")
	require.True(t, strings.Contains(err.Error(), "/usr/lib"), err)
}
