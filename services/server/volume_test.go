package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/services/volume"
)

func TestVolumeWarnings(t *testing.T) {
	three := &antlerv1.Space{TotalBytes: 30 << 30, FreeBytes: 20 << 30, Chunkservers: 2, ChunkserversExpected: 3}

	for name, tc := range map[string]struct {
		volume volume.Volume
		space  *antlerv1.Space
		want   []string
	}{
		"it fits":               {volume.Volume{Size: 10 << 30, Copies: 2}, three, nil},
		"nothing is known":      {volume.Volume{Size: 10 << 40, Copies: 9}, &antlerv1.Space{}, nil},
		"too large":             {volume.Volume{Size: 11 << 30, Copies: 2}, three, []string{"the volume may grow by 11.0 GiB, 2 times on the disks, and 20.0 GiB of them are free: add a chunkserver before it is full"}},
		"it holds much":         {volume.Volume{Size: 11 << 30, Used: 1 << 30, Copies: 2}, three, nil},
		"it holds too much":     {volume.Volume{Size: 11 << 30, Used: 12 << 30, Copies: 2}, three, nil},
		"a class, not a number": {volume.Volume{Size: 20 << 30}, three, nil},
		"too many copies":       {volume.Volume{Size: 1 << 30, Copies: 5}, three, []string{"5 copies are wanted, each on another chunkserver, and the cluster has 3: MooseFS keeps 3 until there are more"}},
	} {
		require.Equal(t, tc.want, volumeWarnings(tc.volume, tc.space), name)
	}
}

func TestCreateAndExpandWarn(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	volumes := antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Admin))

	made, err := volumes.Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "large", SizeBytes: 1 << 50})
	require.NoError(t, err)
	require.Len(t, made.Warnings, 1)

	// The fake's volumes are full, and 2 TiB are free.
	made, err = volumes.Create(t.Context(), &antlerv1.VolumeServiceCreateRequest{Name: "full", SizeBytes: 1 << 40})
	require.NoError(t, err)
	require.Empty(t, made.Warnings)

	expanded, err := volumes.Expand(t.Context(), &antlerv1.VolumeServiceExpandRequest{Name: "full", SizeBytes: 3 << 40})
	require.NoError(t, err)
	require.Empty(t, expanded.Warnings)

	expanded, err = volumes.Expand(t.Context(), &antlerv1.VolumeServiceExpandRequest{Name: "full", SizeBytes: 4 << 40})
	require.NoError(t, err)
	require.Equal(t, []string{"the volume may grow by 3072.0 GiB, 1 times on the disks, and 2048.0 GiB of them are free: add a chunkserver before it is full"}, expanded.Warnings)
}
