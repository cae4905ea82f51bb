package flash

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/stretchr/testify/require"

	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

// withSystem puts a system into an image, and returns its root.
func withSystem(t *testing.T, path string) []byte {
	t.Helper()

	data := bytes.Repeat([]byte("r"), 20*verity.Block)
	hash, tree, err := verity.Tree(bytes.NewReader(data))
	require.NoError(t, err)

	root := append(data, tree...)
	disk, err := file.OpenFromPath(path, false)
	require.NoError(t, err)

	defer disk.Close()

	w, err := disk.Writable()
	require.NoError(t, err)
	_, err = w.WriteAt(root, mib+bootSize)
	require.NoError(t, err)

	fat, err := fat32.Read(disk, bootSize, mib, layout.Sector)
	require.NoError(t, err)
	require.NoError(t, fat.Mkdir("/"+layout.SlotA))

	for name, content := range map[string][]byte{
		slots.Kernel: bytes.Repeat([]byte("k"), 9000), slots.Initrd: []byte("initrd"), slots.EntryFile: slots.Entry("quiet " + hash.Argument()),
	} {
		f, err := fat.OpenFile("/"+layout.SlotA+"/"+name, os.O_CREATE|os.O_RDWR)
		require.NoError(t, err)
		_, err = f.Write(content)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}

	return root
}

func TestOpenSystem(t *testing.T) {
	plain := makeImage(t, layout.Labels()...)
	root := withSystem(t, plain)

	for name, image := range map[string]string{"plain": plain, "packed": pack(t, plain)} {
		t.Run(name, func(t *testing.T) {
			system, err := OpenSystem(image)
			require.NoError(t, err)

			defer system.Close()

			require.Contains(t, system.Arguments, "quiet "+system.Root)
			require.Equal(t, int64(len(root)), system.RootSize)

			data, err := io.ReadAll(system.Data())
			require.NoError(t, err)
			require.Equal(t, string(root)+string(bytes.Repeat([]byte("k"), 9000))+"initrd", string(data))
			require.Len(t, system.KernelSHA256(), 32)
			require.NotEqual(t, system.KernelSHA256(), system.InitrdSHA256())
		})
	}
}

func TestOpenSystemRefuses(t *testing.T) {
	_, err := OpenSystem(makeImage(t, layout.Labels()...))
	require.ErrorContains(t, err, "it has no file /a/entry.env")

	_, err = OpenSystem(makeImage(t, layout.Boot, "antler-root", layout.State))
	require.ErrorContains(t, err, "it has no partition antler-root-a")
}
