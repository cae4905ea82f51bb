package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/volume"
)

// Volumes carries volume calls out on the node that serves. Its errors are of
// the kinds of package volume, and say what was being done.
type Volumes interface {
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	// Adopt makes the directory at a path below the root of MooseFS a volume.
	Adopt(ctx context.Context, spec volume.Spec, from string) (volume.Volume, error)
	Get(ctx context.Context, name string) (volume.Volume, error)
	List(ctx context.Context) ([]volume.Volume, error)
	Expand(ctx context.Context, name string, size uint64) (volume.Volume, error)
	// Delete keeps the volume for a while; 0: 7 days.
	Delete(ctx context.Context, name string, keep time.Duration) (volume.Archived, error)
	// Undelete of an empty archive id takes the last one of that name.
	Undelete(ctx context.Context, name, archived string) (volume.Volume, error)
	ListArchived(ctx context.Context) ([]volume.Archived, error)
	// EndUse records that the node doesn't use the volume of this name and id.
	EndUse(ctx context.Context, name, id, node string) (volume.Volume, error)
}

type volumeService struct {
	antlerv1.UnimplementedVolumeServiceServer
	server *Server
}

func (v *volumeService) store() Volumes { return v.server.options.Volumes }

// Create implements antlerv1.VolumeServiceServer.
func (v *volumeService) Create(ctx context.Context, r *antlerv1.VolumeServiceCreateRequest) (*antlerv1.VolumeServiceCreateResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Create(ctx, r)
	}

	spec, err := specFromAPI(r)
	if err != nil {
		return nil, err
	}

	created, err := v.store().Create(ctx, spec)
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceCreateResponse{Volume: volumeToAPI(created), Warnings: v.warnings(ctx, created)}, nil
}

// warnings for a volume that was made or changed; none where nothing is known.
func (v *volumeService) warnings(ctx context.Context, of volume.Volume) []string {
	known, err := v.server.snapshot(ctx)
	if err != nil {
		return nil
	}

	return volumeWarnings(of, known.space())
}

// volumeWarnings are what the cluster can't give the volume now. Both may be what
// somebody wants who is about to add a chunkserver.
func volumeWarnings(of volume.Volume, space *antlerv1.Space) []string {
	var out []string

	copies, servers := uint64(max(of.Copies, 1)), uint64(max(space.GetChunkservers(), space.GetChunkserversExpected()))

	if servers > 0 && copies > servers {
		out = append(out, fmt.Sprintf("%d copies are wanted, each on another chunkserver, and the cluster has %d: MooseFS keeps %d until there are more", copies, servers, servers))
		copies = servers
	}

	// What it holds is no longer among the free space.
	growth := of.Size - min(of.Used, of.Size)

	if space.GetTotalBytes() > 0 && growth > space.GetFreeBytes()/copies {
		out = append(out, fmt.Sprintf("the volume may grow by %.1f GiB, %d times on the disks, and %.1f GiB of them are free: add a chunkserver before it is full",
			float64(growth)/(1<<30), copies, float64(space.GetFreeBytes())/(1<<30)))
	}

	return out
}

// specFromAPI checks what only the API can get wrong; the rest is checked where
// the volume is made.
func specFromAPI(r *antlerv1.VolumeServiceCreateRequest) (volume.Spec, error) {
	spec := volume.Spec{Name: r.GetName(), Size: r.GetSizeBytes(), InodeLimit: r.GetInodeLimit(), Copies: int(r.GetCopies()), StorageClass: r.GetStorageClass()}

	trash, err := trashFromAPI(r.GetTrashTime())
	if err != nil {
		return spec, err
	}

	spec.TrashTime = trash

	return spec, checkSize(r.GetSizeBytes())
}

// trashFromAPI returns nil where nothing is said.
func trashFromAPI(d *durationpb.Duration) (*time.Duration, error) {
	if d == nil {
		return nil, nil
	}

	if !wholeSeconds(d) {
		return nil, badField("trash_time", "is not a number of whole seconds, 0 or more")
	}

	trash := d.AsDuration()

	return &trash, nil
}

func checkSize(size uint64) error {
	if size < volume.MinSize || size > volume.MaxSize {
		return badField("size_bytes", fmt.Sprintf("%d is not between 1 MiB and 1 EiB", size))
	}

	return nil
}

func wholeSeconds(d *durationpb.Duration) bool {
	return d.CheckValid() == nil && d.Nanos == 0 && d.Seconds >= 0
}

func volumeToAPI(v volume.Volume) *antlerv1.Volume {
	return &antlerv1.Volume{
		Name: v.Name, Id: v.ID, SizeBytes: v.Size, UsedBytes: v.Used, Copies: uint32(v.Copies), StorageClass: v.StorageClass,
		TrashTime: durationpb.New(v.TrashTime), Created: stamp(v.Created), Path: v.Path,
		InodeLimit: v.InodeLimit, UsedInodes: v.UsedInodes, Uses: usesToAPI(v),
	}
}

func archivedToAPI(a volume.Archived) *antlerv1.ArchivedVolume {
	return &antlerv1.ArchivedVolume{
		ArchiveId: a.ID, Volume: volumeToAPI(a.Volume), Deleted: stamp(a.Deleted), Expires: stamp(a.Expires),
	}
}

// Get implements antlerv1.VolumeServiceServer.
func (v *volumeService) Get(ctx context.Context, r *antlerv1.VolumeServiceGetRequest) (*antlerv1.VolumeServiceGetResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Get(ctx, r)
	}

	found, err := v.store().Get(ctx, r.GetName())
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceGetResponse{Volume: volumeToAPI(found)}, nil
}

// List implements antlerv1.VolumeServiceServer.
func (v *volumeService) List(ctx context.Context, r *antlerv1.VolumeServiceListRequest) (*antlerv1.VolumeServiceListResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.List(ctx, r)
	}

	volumes, err := v.store().List(ctx)
	if err != nil {
		return nil, explained(err, "")
	}

	out := &antlerv1.VolumeServiceListResponse{}
	for _, found := range volumes {
		out.Volumes = append(out.Volumes, volumeToAPI(found))
	}

	return out, nil
}

// Expand implements antlerv1.VolumeServiceServer.
func (v *volumeService) Expand(ctx context.Context, r *antlerv1.VolumeServiceExpandRequest) (*antlerv1.VolumeServiceExpandResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Expand(ctx, r)
	}

	err := checkSize(r.GetSizeBytes())
	if err != nil {
		return nil, err
	}

	found, err := v.store().Expand(ctx, r.GetName(), r.GetSizeBytes())
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceExpandResponse{Volume: volumeToAPI(found), Warnings: v.warnings(ctx, found)}, nil
}

// Delete implements antlerv1.VolumeServiceServer.
func (v *volumeService) Delete(ctx context.Context, r *antlerv1.VolumeServiceDeleteRequest) (*antlerv1.VolumeServiceDeleteResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Delete(ctx, r)
	}

	var keep time.Duration

	if r.KeepFor != nil {
		if !wholeSeconds(r.KeepFor) || r.KeepFor.Seconds == 0 {
			return nil, badField("keep_for", "is not a number of whole seconds, 1 or more")
		}

		keep = r.KeepFor.AsDuration()
	}

	archived, err := v.store().Delete(ctx, r.GetName(), keep)
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceDeleteResponse{Archived: archivedToAPI(archived)}, nil
}

// Undelete implements antlerv1.VolumeServiceServer.
func (v *volumeService) Undelete(ctx context.Context, r *antlerv1.VolumeServiceUndeleteRequest) (*antlerv1.VolumeServiceUndeleteResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.Undelete(ctx, r)
	}

	found, err := v.store().Undelete(ctx, r.GetName(), r.GetArchiveId())
	if err != nil {
		return nil, explained(err, "")
	}

	return &antlerv1.VolumeServiceUndeleteResponse{Volume: volumeToAPI(found)}, nil
}

// ListArchived implements antlerv1.VolumeServiceServer.
func (v *volumeService) ListArchived(ctx context.Context, r *antlerv1.VolumeServiceListArchivedRequest) (*antlerv1.VolumeServiceListArchivedResponse, error) {
	if v.store() == nil {
		return v.UnimplementedVolumeServiceServer.ListArchived(ctx, r)
	}

	archived, err := v.store().ListArchived(ctx)
	if err != nil {
		return nil, explained(err, "")
	}

	out := &antlerv1.VolumeServiceListArchivedResponse{}
	for _, found := range archived {
		out.Archived = append(out.Archived, archivedToAPI(found))
	}

	return out, nil
}
