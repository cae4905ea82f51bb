package main

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// sysfs lays out block devices as the kernel does: class/block/NAME is a link
// to .../DISK/NAME.
func sysfs(t *testing.T, parts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	class := filepath.Join(dir, "class/block")
	require.NoError(t, os.MkdirAll(class, 0o755))
	for path, label := range parts {
		target := filepath.Join(dir, "devices", path)
		require.NoError(t, os.MkdirAll(target, 0o755))
		uevent := "MAJOR=254\nDEVTYPE=partition\nPARTNAME=" + label + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(target, "uevent"), []byte(uevent), 0o644))
		require.NoError(t, os.Symlink(target, filepath.Join(class, filepath.Base(path))))
	}
	return class
}

func TestFindPartsTakesTheCompleteDisk(t *testing.T) {
	class := sysfs(t, map[string]string{
		"vda/vda1": "antler-state", // a disk somebody began to flash
		"vdb/vdb1": "antler-boot", "vdb/vdb2": "antler-root-a", "vdb/vdb3": "antler-root-b", "vdb/vdb4": "antler-state",
		"vdc/vdc1": "data",
	})
	parts, err := findParts(class)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"antler-boot": "vdb1", "antler-root-a": "vdb2", "antler-root-b": "vdb3", "antler-state": "vdb4"}, parts)
}

func TestFindPartsWaitsForAll(t *testing.T) {
	parts, err := findParts(sysfs(t, map[string]string{"vda/vda1": "antler-boot", "vda/vda2": "antler-root-a"}))
	require.NoError(t, err)
	require.Nil(t, parts)
}

func TestFindPartsRefusesTwoSystems(t *testing.T) {
	_, err := findParts(sysfs(t, map[string]string{
		"vda/vda1": "antler-boot", "vda/vda2": "antler-root-a", "vda/vda3": "antler-root-b", "vda/vda4": "antler-state",
		"vdb/vdb1": "antler-boot", "vdb/vdb2": "antler-root-a", "vdb/vdb3": "antler-root-b", "vdb/vdb4": "antler-state",
	}))
	require.ErrorContains(t, err, "disks vda, vdb all hold an Antler system")
}

func TestJudge(t *testing.T) {
	ext4 := func(state uint16) []byte {
		head := make([]byte, 4096)
		binary.LittleEndian.PutUint16(head[magicAt:], ext4Magic)
		binary.LittleEndian.PutUint16(head[stateAt:], state)
		return head
	}
	foreignHead := make([]byte, 4096)
	copy(foreignHead[4086:], "SWAPSPACE2")
	for name, c := range map[string]struct {
		head []byte
		want condition
	}{
		"cleanly unmounted": {ext4(1), clean},
		"power cut":         {ext4(0), clean},
		"errors noted":      {ext4(3), damaged},
		"never written":     {make([]byte, 4096), blank},
		"erased to ones":    {bytes.Repeat([]byte{0xff}, 4096), blank},
		"something else's":  {foreignHead, foreign},
		"a bit in the way":  {append(make([]byte, 4095), 1), foreign},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, judge(c.head)) })
	}
}

func TestSeedLeavesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "kept"), 0o700))
	nodes := func() []node {
		return []node{{name: "kept", mode: 0o755}, {name: "tmp", mode: 0o777 | fs.ModeSticky}, {name: "run", link: "../run"}}
	}
	require.NoError(t, seed(dir, nodes))
	require.NoError(t, seed(dir, nodes), "a second boot")

	kept, err := os.Stat(filepath.Join(dir, "kept"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), kept.Mode().Perm())
	tmp, err := os.Stat(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	require.Equal(t, 0o777|fs.ModeSticky, tmp.Mode()&(fs.ModePerm|fs.ModeSticky))
	target, err := os.Readlink(filepath.Join(dir, "run"))
	require.NoError(t, err)
	require.Equal(t, "../run", target)
}

func TestSetSysctls(t *testing.T) {
	proc := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(proc, "vm"), 0o755))
	file := filepath.Join(t.TempDir(), "antler.conf")
	require.NoError(t, os.WriteFile(file, []byte("# vm.swappiness = 1\nno.such.key = 1\nvm.overcommit_memory = 1\n"), 0o644))
	require.NoError(t, setSysctls(file, proc))

	got, err := os.ReadFile(filepath.Join(proc, "vm/overcommit_memory"))
	require.NoError(t, err)
	require.Equal(t, "1", string(got))
	require.NoFileExists(t, filepath.Join(proc, "vm/swappiness"))
}

func TestKeepReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/machine-id")
	require.NoError(t, keep(path, []byte("first")))
	require.NoError(t, keep(path, []byte("second")))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "second", string(got))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing left behind")
}

func TestMachineID(t *testing.T) {
	require.Regexp(t, "^[0-9a-f]{32}\n$", string(newMachineID()))
	require.NotEqual(t, newMachineID(), newMachineID())
}
