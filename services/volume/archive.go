package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Delete moves a volume to the archive, from where Undelete brings it back
// during keep; 0 is DefaultKeep. Idempotent: of a volume that was deleted
// before, it returns that. One that never was is ErrNotFound. Whoever has it
// mounted keeps it: a mount holds the directory, not its name.
func (s *Store) Delete(ctx context.Context, name string, keep time.Duration) (Archived, error) {
	return s.delete(ctx, name, keep, func(record) error { return nil })
}

// DeleteUnused is Delete of the volume with this name and id, which nobody may
// be using: if somebody does the error is of kind ErrInUse. Another volume of
// this name is ErrNotFound, and so is one that was deleted before.
func (s *Store) DeleteUnused(ctx context.Context, name, id string, keep time.Duration) (Archived, error) {
	return s.delete(ctx, name, keep, func(r record) error {
		if r.ID != id {
			return failf(ErrNotFound, "the volume called %s now is another one", name)
		}

		if len(r.Uses) > 0 {
			return failf(ErrInUse, "it is used on %s: end its pods first", r.volume(Quota{}).UsersText())
		}

		return nil
	})
}

func (s *Store) delete(ctx context.Context, name string, keep time.Duration, check func(record) error) (Archived, error) {
	doing := fmt.Sprintf("delete volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return Archived{}, classify(doing, err)
	}

	if keep == 0 {
		keep = DefaultKeep
	}

	if keep < time.Second || keep > MaxKeep {
		return Archived{}, classify(doing, failf(ErrInvalid, "keeping it for %s is outside 1s..%s", keep, MaxKeep))
	}

	return change(ctx, s, doing, func(_ context.Context, t *tree) (Archived, error) {
		archive, err := t.keep(t.volumes.mkdir(archiveDir, 0o700))
		if err != nil {
			return Archived{}, err
		}

		r, err := t.load(t.volumes, name, name)
		if errors.Is(err, ErrNotFound) {
			return t.latest(archive, name)
		}

		if err == nil {
			err = check(r)
		}

		if err != nil {
			return Archived{}, err
		}

		gone, err := t.toArchive(archive, r, s.opts.Now(), keep)
		if err == nil {
			s.opts.Emit("volume.deleted", fmt.Sprintf("volume %s was deleted and can be brought back until %s", name, gone.Expires.Format(time.RFC3339)))
		}

		return gone, err
	})
}

// toArchive renames a volume into the archive. Another one of this name may
// have gone there in the same second: then this one was deleted in the next.
func (t *tree) toArchive(archive dir, r record, now time.Time, keep time.Duration) (Archived, error) {
	deleted := now.UTC().Truncate(time.Second)

	for range 60 {
		id := archiveID{name: r.Name, deleted: deleted, expires: deleted.Add(keep)}

		err := t.volumes.rename(r.Name, archive, id.String())
		if err == nil {
			return id.archived(r), nil
		}

		if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return Archived{}, err
		}

		deleted = deleted.Add(time.Second)
	}

	return Archived{}, failf(ErrUnavailable, "it was deleted 60 times in a minute: try again later")
}

// archived returns what the caller sees of a record in the archive.
func (a archiveID) archived(r record) Archived {
	v := r.volume(Quota{})
	v.Path = "/" + volumesDir + "/" + archiveDir + "/" + a.String() + "/" + dataDir

	return Archived{ID: a.String(), Volume: v, Deleted: a.deleted, Expires: a.expires}
}

// ListArchived returns what Undelete can bring back, the latest first. What the
// volumes use is not measured.
func (s *Store) ListArchived(ctx context.Context) ([]Archived, error) {
	return look(ctx, s, "list deleted volumes", func(_ context.Context, t *tree) ([]Archived, error) {
		archive, err := t.keep(t.volumes.sub(archiveDir))
		if err != nil {
			return nil, err
		}

		return t.listArchive(archive, "")
	})
}

// listArchive returns the archive, the latest first; only what was called name
// if that isn't empty.
func (t *tree) listArchive(archive dir, name string) ([]Archived, error) {
	entries, err := archive.names(0)
	if err != nil {
		return nil, err
	}

	var out []Archived

	for _, entry := range entries {
		id, err := parseArchiveID(entry)
		if err != nil || name != "" && id.name != name {
			continue
		}

		r, err := t.load(archive, entry, id.name)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrPrecondition) {
			continue
		}

		if err != nil {
			return nil, err
		}

		out = append(out, id.archived(r))
	}

	slices.SortFunc(out, func(a, b Archived) int {
		return cmp.Or(b.Deleted.Compare(a.Deleted), cmp.Compare(b.ID, a.ID))
	})

	return out, nil
}

// latest returns what was deleted last under a name.
func (t *tree) latest(archive dir, name string) (Archived, error) {
	all, err := t.listArchive(archive, name)
	if err != nil {
		return Archived{}, err
	}

	if len(all) == 0 {
		return Archived{}, failf(ErrNotFound, "there is no volume %s, nor was one deleted lately", name)
	}

	return all[0], nil
}

// Undelete brings back the volume that was deleted last under name, or the one
// with the given archive id. If it is back already it is returned; if another
// one has taken its name the error is of kind ErrExists.
func (s *Store) Undelete(ctx context.Context, name, archived string) (Volume, error) {
	doing := fmt.Sprintf("undelete volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return Volume{}, classify(doing, err)
	}

	if archived != "" {
		id, err := parseArchiveID(archived)
		if err != nil {
			return Volume{}, classify(doing, err)
		}

		if id.name != name {
			return Volume{}, classify(doing, failf(ErrInvalid, "archive id %s is of another volume", archived))
		}
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		archive, err := t.keep(t.volumes.mkdir(archiveDir, 0o700))
		if err != nil {
			return Volume{}, err
		}

		chosen, err := t.choose(archive, name, archived)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Volume{}, err
		}

		live, liveErr := t.load(t.volumes, name, name)

		switch {
		case liveErr == nil && err != nil && archived == "":
			return s.measure(ctx, t, live) // back already
		case liveErr == nil && err == nil:
			return Volume{}, failf(ErrExists, "another volume has its name: delete that one first")
		case err != nil:
			return Volume{}, err
		case !errors.Is(liveErr, ErrNotFound):
			return Volume{}, liveErr
		}

		if err := archive.rename(chosen.ID, t.volumes, name); err != nil {
			return Volume{}, err
		}

		s.opts.Emit("volume.undeleted", fmt.Sprintf("volume %s is back", name))

		r, err := t.load(t.volumes, name, name)
		if err != nil {
			return Volume{}, err
		}

		return s.measure(ctx, t, r)
	})
}

// choose returns the archived volume with an id, the latest if that is empty.
func (t *tree) choose(archive dir, name, id string) (Archived, error) {
	if id == "" {
		return t.latest(archive, name)
	}

	all, err := t.listArchive(archive, name)
	if err != nil {
		return Archived{}, err
	}

	for _, a := range all {
		if a.ID == id {
			return a, nil
		}
	}

	return Archived{}, failf(ErrNotFound, "there is nothing with the archive id %s: it is back already, or its time was over", id)
}
