package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Snapshot is a volume as it was at one moment. It stays when the volume goes.
type Snapshot struct {
	Name string
	// ID is a UUID, so that another snapshot of this name is told apart.
	ID string
	// Volume and VolumeID name what it was taken of.
	Volume, VolumeID string
	// Size is what a volume made of it must have at least, in bytes.
	Size uint64
	// InodeLimit is what such a volume gets if nothing else is said; 0: none.
	InodeLimit uint64
	Labels     map[string]string
	Created    time.Time
}

// snapshotRecord is what stands in a snapshot's mark.
type snapshotRecord struct {
	Version    int               `json:"version"`
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Volume     string            `json:"volume"`
	VolumeID   string            `json:"volumeID"`
	Size       uint64            `json:"size"`
	InodeLimit uint64            `json:"inodeLimit,omitempty"`
	Created    time.Time         `json:"created"`
	Labels     map[string]string `json:"labels,omitempty"`
}

func (r snapshotRecord) snapshot() Snapshot {
	return Snapshot{
		Name: r.Name, ID: r.ID, Volume: r.Volume, VolumeID: r.VolumeID, Size: r.Size, InodeLimit: r.InodeLimit, Labels: r.Labels, Created: r.Created,
	}
}

// CreateSnapshot takes a snapshot of the volume with this name and id. It is
// idempotent by the snapshot's name; a snapshot of this name of another volume
// is ErrExists.
func (s *Store) CreateSnapshot(ctx context.Context, name, of, id string, labels map[string]string) (Snapshot, error) {
	doing := fmt.Sprintf("take snapshot %.*s of volume %.*s", MaxName, name, MaxName, of)

	if err := errors.Join(CheckName(name), CheckName(of), checkLabels(labels)); err != nil {
		return Snapshot{}, classify(doing, err)
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Snapshot, error) {
		snapshots, err := t.keep(t.volumes.mkdir(snapshotDir, 0o700))
		if err != nil {
			return Snapshot{}, err
		}

		have, _, err := t.loadSnapshot(snapshots, name)

		switch {
		case err == nil && have.VolumeID == id:
			return have.snapshot(), nil
		case err == nil:
			return Snapshot{}, failf(ErrExists, "it exists and is of volume %s: choose another name", have.Volume)
		case !errors.Is(err, ErrNotFound):
			return Snapshot{}, err
		}

		r, err := t.load(t.volumes, of, of)
		if err != nil {
			return Snapshot{}, err
		}

		if r.ID != id {
			return Snapshot{}, failf(ErrNotFound, "the volume called %s now is another one", of)
		}

		taken := snapshotRecord{
			Version: recordVersion, ID: s.opts.NewID(), Name: name, Volume: of, VolumeID: id, Size: r.Size, InodeLimit: r.InodeLimit,
			Created: s.opts.Now().UTC().Truncate(time.Second), Labels: labels,
		}

		if err := s.takeSnapshot(ctx, t, snapshots, taken); err != nil {
			return Snapshot{}, err
		}

		s.opts.Emit("volume.snapshot-taken", fmt.Sprintf("snapshot %s of volume %s was taken", name, of))

		return taken.snapshot(), nil
	})
}

// takeSnapshot makes it under a temporary name and renames it when it is whole.
func (s *Store) takeSnapshot(ctx context.Context, t *tree, snapshots dir, r snapshotRecord) error {
	name := creating + r.Name

	if err := s.discard(t, snapshots, name); err != nil {
		return err
	}

	from, err := t.keep(t.volumes.sub(r.Volume))
	if err != nil {
		return err
	}

	to, err := t.keep(snapshots.mkdir(name, 0o700))
	if err != nil {
		return err
	}

	mark, err := encode(r)
	if err != nil {
		return err
	}

	err = s.opts.Tools.Snapshot(ctx, from.File, to.File, dataDir)
	if err == nil {
		err = to.setMark(snapshotMark, mark)
	}

	if err != nil {
		return errors.Join(err, s.discard(t, snapshots, name))
	}

	return snapshots.rename(name, snapshots, r.Name)
}

// DeleteSnapshot removes the snapshot with this name and id for good. Volumes
// made of it stay. One that isn't there is ErrNotFound.
func (s *Store) DeleteSnapshot(ctx context.Context, name, id string) error {
	doing := fmt.Sprintf("delete snapshot %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return classify(doing, err)
	}

	_, err := change(ctx, s, doing, func(_ context.Context, t *tree) (struct{}, error) {
		snapshots, err := t.keep(t.volumes.mkdir(snapshotDir, 0o700))
		if err != nil {
			return struct{}{}, err
		}

		r, _, err := t.loadSnapshot(snapshots, name)
		if err != nil {
			return struct{}{}, err
		}

		if r.ID != id {
			return struct{}{}, failf(ErrNotFound, "the snapshot called %s now is another one", name)
		}

		if err := s.discard(t, snapshots, name); err != nil {
			return struct{}{}, err
		}

		s.opts.Emit("volume.snapshot-deleted", fmt.Sprintf("snapshot %s of volume %s was deleted", name, r.Volume))

		return struct{}{}, nil
	})

	return err
}

// ListSnapshots returns all snapshots in the order of their names.
func (s *Store) ListSnapshots(ctx context.Context) ([]Snapshot, error) {
	return look(ctx, s, "list snapshots", func(_ context.Context, t *tree) ([]Snapshot, error) {
		snapshots, err := t.keep(t.volumes.sub(snapshotDir))
		if isNotExist(err) {
			return nil, nil
		}

		if err != nil {
			return nil, err
		}

		names, err := snapshots.names(0)
		if err != nil {
			return nil, err
		}

		slices.Sort(names)

		var out []Snapshot

		for _, name := range names {
			if strings.HasPrefix(name, ".") || CheckName(name) != nil {
				continue
			}

			r, top, err := loadSnapshot(snapshots, name)
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrPrecondition) {
				continue // removed just now, or in the way
			}

			if err != nil {
				return nil, err
			}

			_ = top.Close()

			out = append(out, r.snapshot())
		}

		return out, nil
	})
}

// source opens the directory above a source's data, and returns its limits.
func (s *Store) source(_ context.Context, t *tree, source Source) (dir, Quota, error) {
	if source.Snapshot != "" {
		snapshots, err := t.keep(t.volumes.mkdir(snapshotDir, 0o700))
		if err != nil {
			return dir{}, Quota{}, err
		}

		r, top, err := t.loadSnapshot(snapshots, source.Snapshot)
		if err == nil && r.ID != source.ID {
			err = failf(ErrNotFound, "the snapshot called %s now is another one", source.Snapshot)
		}

		return top, Quota{Limit: r.Size, InodeLimit: r.InodeLimit}, err
	}

	r, err := t.load(t.volumes, source.Volume, source.Volume)
	if err == nil && r.ID != source.ID {
		err = failf(ErrNotFound, "the volume called %s now is another one", source.Volume)
	}

	if err != nil {
		return dir{}, Quota{}, err
	}

	top, err := t.keep(t.volumes.sub(source.Volume))

	return top, Quota{Limit: r.Size, InodeLimit: r.InodeLimit}, err
}

// loadSnapshot reads a snapshot's record and opens its directory, which is
// closed with the tree.
func (t *tree) loadSnapshot(snapshots dir, name string) (snapshotRecord, dir, error) {
	r, top, err := loadSnapshot(snapshots, name)
	if err != nil {
		return r, dir{}, err
	}

	top, err = t.keep(top, nil)

	return r, top, err
}

func loadSnapshot(snapshots dir, name string) (snapshotRecord, dir, error) {
	if err := CheckName(name); err != nil {
		return snapshotRecord{}, dir{}, err
	}

	top, err := snapshots.sub(name)
	if isNotExist(err) {
		return snapshotRecord{}, dir{}, failf(ErrNotFound, "there is no snapshot %s", name)
	}

	if err != nil {
		return snapshotRecord{}, dir{}, classify("open /"+volumesDir+"/"+snapshotDir+"/"+name, err)
	}

	r, err := readSnapshot(top, name)
	if err != nil {
		return snapshotRecord{}, dir{}, errors.Join(err, top.Close())
	}

	return r, top, nil
}

func readSnapshot(top dir, name string) (snapshotRecord, error) {
	mark, err := top.mark(snapshotMark)
	if err != nil {
		return snapshotRecord{}, err
	}

	if mark == nil {
		return snapshotRecord{}, failf(ErrPrecondition, "snapshot %s has no mark: look who put it there and move it away", name)
	}

	var r snapshotRecord

	if err := decode(mark, &r); err != nil {
		return snapshotRecord{}, err
	}

	if r.Version != recordVersion || r.Name != name || r.ID == "" {
		return snapshotRecord{}, failf(ErrPrecondition, "the mark of snapshot %s is of another version or another snapshot", name)
	}

	return r, nil
}
