package server

import (
	"context"

	antlerv1 "antler/api/antler/v1"
	"antler/services/volume"
)

// Adopt implements antlerv1.VolumeServiceServer.
func (v *volumeService) Adopt(ctx context.Context, r *antlerv1.VolumeServiceAdoptRequest) (*antlerv1.VolumeServiceAdoptResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Adopt(ctx, r)
	}

	trash, err := trashFromAPI(r.GetTrashTime())
	if err != nil {
		return nil, err
	}

	// 0 is the directory's own.
	if r.GetSizeBytes() != 0 {
		if err := checkSize(r.GetSizeBytes()); err != nil {
			return nil, err
		}
	}

	adopted, err := v.store().Adopt(ctx, volume.Spec{
		Name: r.GetName(), Size: r.GetSizeBytes(), InodeLimit: r.GetInodeLimit(),
		Copies: int(r.GetCopies()), StorageClass: r.GetStorageClass(), TrashTime: trash,
	}, r.GetFrom())
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceAdoptResponse{Volume: volumeToAPI(adopted), Warnings: v.warnings(ctx, adopted)}, nil
}
