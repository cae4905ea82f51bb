package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/volume"
)

func TestAdopt(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	volumes := antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Admin))
	request := func() *antlerv1.VolumeServiceAdoptRequest {
		return &antlerv1.VolumeServiceAdoptRequest{
			Name: "photos", From: "/pvc-1", SizeBytes: 1 << 30, Copies: 2, InodeLimit: 7, TrashTime: durationpb.New(time.Hour),
		}
	}

	reply, err := volumes.Adopt(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "was /pvc-1", reply.GetVolume().GetPath())
	require.EqualValues(t, 7, reply.GetVolume().GetInodeLimit())

	trash := time.Hour
	require.Equal(t, []volume.Spec{{Name: "photos", Size: 1 << 30, Copies: 2, InodeLimit: 7, TrashTime: &trash}}, c.node("n1").volumes.created)

	own := request()
	own.SizeBytes = 0
	_, err = volumes.Adopt(t.Context(), own)
	require.NoError(t, err, "the directory's own size")

	small, negative := request(), request()
	small.SizeBytes, negative.TrashTime = 17, durationpb.New(-time.Second)

	for field, wrong := range map[string]*antlerv1.VolumeServiceAdoptRequest{"size_bytes": small, "trash_time": negative} {
		_, err = volumes.Adopt(t.Context(), wrong)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.ErrorContains(t, err, field)
	}

	_, err = antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Reader)).Adopt(t.Context(), request())
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}
