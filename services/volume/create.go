package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Create makes the volume that spec asks for. If it exists already it is
// returned; if one of this name exists that differs, the error is of kind
// ErrExists and says how. A volume in the archive doesn't take the name.
func (s *Store) Create(ctx context.Context, spec Spec) (Volume, error) {
	doing := fmt.Sprintf("create volume %.*s", MaxName, spec.Name)

	want, err := spec.complete(s.opts.Defaults)
	if err != nil {
		return Volume{}, classify(doing, err)
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		have, err := t.load(t.volumes, want.Name, want.Name)

		switch {
		case err == nil:
			return s.found(ctx, t, have, want)
		case !errors.Is(err, ErrNotFound):
			return Volume{}, err
		}

		want.ID = s.opts.NewID()
		want.Created = s.opts.Now().UTC().Truncate(time.Second)

		if err := s.build(ctx, t, &want); err != nil {
			return Volume{}, err
		}

		s.opts.Emit("volume.created", fmt.Sprintf("volume %s was created with %d bytes in storage class %s", want.Name, want.Size, want.StorageClass))

		return want.volume(Quota{}), nil
	})
}

// found returns the volume that exists if it is the wanted one.
func (s *Store) found(ctx context.Context, t *tree, have record, want record) (Volume, error) {
	if differs := have.differs(want); differs != "" {
		return Volume{}, failf(ErrExists, "it exists and %s: choose another name, or change what is there (\"antlerctl volume expand\" for its size)", differs)
	}

	return s.measure(ctx, t, have)
}

// build makes a volume under a temporary name and renames it when it is whole.
func (s *Store) build(ctx context.Context, t *tree, r *record) error {
	name := creating + r.Name

	// What an interrupted Create left is not looked at: it is removed later.
	if err := s.discard(t, t.volumes, name); err != nil {
		return err
	}

	if err := s.fill(ctx, t, name, r); err != nil {
		return errors.Join(err, s.discard(t, t.volumes, name))
	}

	return t.volumes.rename(name, t.volumes, r.Name)
}

// fill makes all parts of a volume in the directory called name.
func (s *Store) fill(ctx context.Context, t *tree, name string, r *record) error {
	top, err := t.keep(t.volumes.mkdir(name, 0o755))
	if err != nil {
		return err
	}

	data, err := s.data(ctx, t, top, r)
	if err != nil {
		return err
	}

	if err := s.configure(ctx, t, data.File, *r); err != nil {
		return err
	}

	mark, err := r.encode()
	if err != nil {
		return err
	}

	return top.setMark(volumeMark, mark)
}

// data makes the directory of a volume's data: empty, or as its source is. What r
// leaves to the source is put into it.
func (s *Store) data(ctx context.Context, t *tree, top dir, r *record) (dir, error) {
	if r.Source == (Source{}) {
		// Anybody may write here: who gets here is decided by who mounts it, and on
		// a node that mounts all of MooseFS by the mode of /volumes.
		return t.keep(top.mkdir(dataDir, 0o777))
	}

	from, limits, err := s.source(ctx, t, r.Source)
	if err != nil {
		return dir{}, err
	}

	if r.Size < limits.Limit {
		return dir{}, failf(ErrTooSmall, "its source has %d bytes and it would have %d: ask for at least as much", limits.Limit, r.Size)
	}

	if r.InodeLimit == 0 {
		r.InodeLimit = limits.InodeLimit
	}

	if err := s.opts.Tools.Snapshot(ctx, from.File, top.File, dataDir); err != nil {
		return dir{}, err
	}

	data, err := t.keep(top.sub(dataDir))
	if err != nil {
		return dir{}, err
	}

	return data, s.fits(ctx, data, ErrTooSmall, r.InodeLimit)
}

// fits refuses a limit of inodes below what data has; 0 is none.
func (s *Store) fits(ctx context.Context, data dir, kind error, inodes uint64) error {
	if inodes == 0 {
		return nil
	}

	quotas, err := s.opts.Tools.Quotas(ctx, []*os.File{data.File})
	if err != nil {
		return err
	}

	return quotas[0].enough(kind, inodes)
}

// enough refuses a limit of inodes below what is used of q; 0 is none.
func (q Quota) enough(kind error, inodes uint64) error {
	if inodes > 0 && q.UsedInodes > inodes {
		return failf(kind, "it has %d files and directories, more than an inode limit of %d: ask for at least as many", q.UsedInodes, inodes)
	}

	return nil
}

// configure sets what MooseFS looks after.
func (s *Store) configure(ctx context.Context, t *tree, data *os.File, r record) error {
	if r.Copies > 0 {
		if err := s.opts.Tools.EnsureClass(ctx, t.mount.File, r.StorageClass, r.Copies); err != nil {
			return err
		}
	}

	if err := s.opts.Tools.SetClass(ctx, data, r.StorageClass); err != nil {
		return err
	}

	if err := s.opts.Tools.SetTrashTime(ctx, data, time.Duration(r.TrashSeconds)*time.Second); err != nil {
		return err
	}

	return s.opts.Tools.SetQuota(ctx, data, r.Size, r.InodeLimit)
}

// discard moves what is called name in parent out of the way, if there is
// anything.
func (s *Store) discard(t *tree, parent dir, name string) error {
	purge, err := t.keep(t.volumes.mkdir(purgeDir, 0o700))
	if err != nil {
		return err
	}

	err = parent.rename(name, purge, s.opts.NewID())
	if isNotExist(err) {
		return nil
	}

	return err
}

// Expand makes a volume larger; size is the new size in bytes. The same size is
// no error; a smaller one is of kind ErrPrecondition.
func (s *Store) Expand(ctx context.Context, name string, size uint64) (Volume, error) {
	doing := fmt.Sprintf("expand volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return Volume{}, classify(doing, err)
	}

	if size < MinSize || size > MaxSize {
		return Volume{}, classify(doing, failf(ErrInvalid, "size of %d bytes is outside %d..%d", size, MinSize, MaxSize))
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		r, err := t.load(t.volumes, name, name)
		if err != nil {
			return Volume{}, err
		}

		if size < r.Size {
			return Volume{}, failf(ErrPrecondition, "it has %d bytes and can't be shrunk to %d: create a smaller one and copy", r.Size, size)
		}

		before := r.Size

		if err := s.resize(ctx, t, &r, size); err != nil {
			return Volume{}, err
		}

		if before != size {
			s.opts.Emit("volume.expanded", fmt.Sprintf("volume %s was expanded from %d to %d bytes", name, before, size))
		}

		return s.measure(ctx, t, r)
	})
}

// resize sets the quota, then the mark: if it is interrupted between the two,
// the volume is larger than it says and the next attempt puts that right.
func (s *Store) resize(ctx context.Context, t *tree, r *record, size uint64) error {
	top, err := t.keep(t.volumes.sub(r.Name))
	if err != nil {
		return err
	}

	data, err := t.keep(top.sub(dataDir))
	if err != nil {
		return err
	}

	if err := s.opts.Tools.SetQuota(ctx, data.File, size, r.InodeLimit); err != nil {
		return err
	}

	r.Size = size

	mark, err := r.encode()
	if err != nil {
		return err
	}

	return top.setMark(volumeMark, mark)
}
