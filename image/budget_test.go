package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMeasureCountsEachFileOnce(t *testing.T) {
	root := t.TempDir()
	for name, size := range map[string]int{
		"usr/lib/modules/6.12/ext4.ko":                 100,
		"usr/bin/antlerd":                              20,
		"usr/lib/aarch64-linux-gnu/libc.so.6":          3,
		"usr/lib/aarch64-linux-gnu/systemd/libcore.so": 4000,
		"etc/passwd": 50000,
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), make([]byte, size), 0o644))
	}
	require.NoError(t, os.Symlink("antlerd", filepath.Join(root, "usr/bin/antlerctl")))

	parts, err := measure(root)
	require.NoError(t, err)
	got := map[string]int64{}
	for i, s := range budget {
		got[s.name] = parts[i]
	}
	require.Equal(t, int64(100), got["kernel modules"])
	require.Equal(t, int64(20), got["antler"])
	require.Equal(t, int64(3), got["libraries"])
	require.Equal(t, int64(4000), got["systemd and udev"], "the more special share comes first")
	require.Equal(t, int64(50000), got["all else"])
}

func TestBudgetIsKept(t *testing.T) {
	u := usage{parts: make([]int64, len(budget))}
	require.NoError(t, u.check())

	u.parts[0] = int64(budget[0].budget*mib) + 1
	u.boot = bootBudget*mib + 1
	err := u.check()
	require.ErrorContains(t, err, budget[0].name)
	require.ErrorContains(t, err, "files of the boot partition")
	require.NotContains(t, err.Error(), "the root, packed")
}

func TestK3sHasABudgetOfItsOwn(t *testing.T) {
	u := usage{parts: make([]int64, len(budget)), squash: (squashBudget + 1) * mib}
	require.ErrorContains(t, u.check(), "the root, packed")

	u.parts[shareOf("usr/local/bin/k3s")] = 70 * mib
	require.NoError(t, u.check())
	u.squash = (squashBudget + k3sBudget + 1) * mib
	require.ErrorContains(t, u.check(), "the root, packed")
}

func TestEveryFileHasAShare(t *testing.T) {
	require.Equal(t, "all else", budget[shareOf("anything/at/all")].name)
	require.Less(t, (squashBudget+k3sBudget)*mib*129/128, rootSize, "with the hashes of its blocks")
	require.Less(t, (bootBudget+46)*mib, bootSize, "both slots' entries")
}
