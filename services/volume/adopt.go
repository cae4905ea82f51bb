package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Adopt makes the directory at from, a path below the root of MooseFS, the
// volume that spec asks for, with all that is in it. Nothing is copied: the
// directory is renamed. Its mode and owner stay, and so do the storage class and
// the trash time of what it holds. A spec without a size, or without a limit of
// inodes, takes over the directory's own.
//
// The rename is the only step that matters. Whatever is interrupted before it,
// the directory is where it was; after it, the volume is whole. Doing the same
// again goes on from there, or returns the volume.
func (s *Store) Adopt(ctx context.Context, spec Spec, from string) (Volume, error) {
	doing := fmt.Sprintf("adopt %.200q as volume %.*s", from, MaxName, spec.Name)

	steps, err := parsePath(from)
	if err == nil {
		err = CheckName(spec.Name)
	}

	if err != nil {
		return Volume{}, classify(doing, err)
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		if err := t.dropShell(spec.Name); err != nil {
			return Volume{}, err
		}

		have, err := t.load(t.volumes, spec.Name, spec.Name)

		switch {
		case err == nil:
			return s.adopted(ctx, t, have, spec, from)
		case !errors.Is(err, ErrNotFound):
			return Volume{}, err
		}

		r, err := s.take(ctx, t, spec, from, steps)
		if err != nil {
			return Volume{}, err
		}

		s.opts.Emit("volume.adopted", fmt.Sprintf("the directory %q became volume %s with %d bytes", from, r.Name, r.Size))

		return s.measure(ctx, t, r)
	})
}

// Limits of a path: Linux's own.
const (
	maxPath      = 4095
	maxComponent = 255
)

// parsePath returns the components of a path below the root of MooseFS that may
// be adopted, and refuses what isn't written in full, the root, and all that
// Antler keeps.
func parsePath(path string) ([]string, error) {
	rest, absolute := strings.CutPrefix(path, "/")

	switch {
	case !absolute || len(path) > maxPath:
		return nil, failf(ErrInvalid, "path %.200q must begin with / at the root of MooseFS, and have at most %d bytes", path, maxPath)
	case rest == "":
		return nil, failf(ErrInvalid, "the root of MooseFS can't become a volume: name a directory in it")
	}

	steps := strings.Split(rest, "/")

	for _, step := range steps {
		if component(step) != nil || len(step) > maxComponent {
			return nil, failf(ErrInvalid, "path %.200q has %.50q in it: write it in full, without \"..\" and without a slash at its end", path, step)
		}
	}

	if steps[0] == volumesDir {
		return nil, failf(ErrInvalid, "path %.200q is where the volumes are kept: what is there can't be adopted", path)
	}

	return steps, nil
}

// walk opens a directory and the one above it, one component after the other.
func (t *tree) walk(steps []string) (parent, last dir, err error) {
	last = t.mount

	for i, step := range steps {
		parent = last

		last, err = t.keep(parent.sub(step))
		if isNotExist(err) {
			return parent, last, failf(ErrNotFound, "there is no directory /%s in MooseFS: the path begins at the root of MooseFS, not at that of a node", strings.Join(steps[:i+1], "/"))
		}

		if err != nil {
			return parent, last, err
		}
	}

	return parent, last, nil
}

// adopted returns the volume that exists if it is the wanted one.
func (s *Store) adopted(ctx context.Context, t *tree, have record, spec Spec, from string) (Volume, error) {
	if spec.Size == 0 {
		spec.Size = have.Size
	}

	want, err := spec.complete(s.opts.Defaults)
	if err != nil {
		return Volume{}, err
	}

	want.Adopted = from

	return s.found(ctx, t, have, want)
}

// take makes the directory a volume that isn't there yet.
func (s *Store) take(ctx context.Context, t *tree, spec Spec, from string, steps []string) (record, error) {
	parent, source, err := t.walk(steps)
	if err != nil {
		return record{}, err
	}

	r, err := s.limits(ctx, source, spec)
	if err != nil {
		return record{}, err
	}

	r.Adopted, r.ID, r.Created = from, s.opts.NewID(), s.opts.Now().UTC().Truncate(time.Second)

	// Where it is now: a class that doesn't exist must not be found out later.
	if err := s.configure(ctx, t, source.File, r); err != nil {
		return record{}, err
	}

	shell, err := s.shell(t, r)
	if err != nil {
		return record{}, err
	}

	if err := s.move(t, parent, steps[len(steps)-1], source, shell); err != nil {
		// It goes only if it is empty: nobody knows what became of a rename that
		// MooseFS gave no answer to.
		return record{}, errors.Join(err, t.dropShell(r.Name))
	}

	return r, nil
}

// limits completes spec with those that the directory has, and refuses any that
// are below what it holds.
func (s *Store) limits(ctx context.Context, source dir, spec Spec) (record, error) {
	quotas, err := s.opts.Tools.Quotas(ctx, []*os.File{source.File})
	if err != nil {
		return record{}, err
	}

	q := quotas[0]

	if spec.Size == 0 {
		spec.Size = q.Limit
	}

	if spec.Size == 0 {
		return record{}, failf(ErrInvalid, "it has no quota whose size could be taken over, and holds %d bytes: give a size", q.Used)
	}

	r, err := spec.complete(s.opts.Defaults)
	if err != nil {
		return record{}, err
	}

	if r.InodeLimit == 0 {
		r.InodeLimit = q.InodeLimit
	}

	if q.Used > r.Size {
		return record{}, failf(ErrPrecondition, "it holds %d bytes, more than a size of %d: give at least as much", q.Used, r.Size)
	}

	return r, q.enough(ErrPrecondition, r.InodeLimit)
}

// shell makes a volume without data, whose mark is that of the volume to be.
// Nobody takes it for a volume until the data are in it.
func (s *Store) shell(t *tree, r record) (dir, error) {
	name := creating + r.Name

	if err := s.discard(t, t.volumes, name); err != nil {
		return dir{}, err
	}

	top, err := t.keep(t.volumes.mkdir(name, 0o755))
	if err != nil {
		return dir{}, err
	}

	mark, err := r.encode()
	if err != nil {
		return dir{}, err
	}

	if err := top.setMark(volumeMark, mark); err != nil {
		return dir{}, errors.Join(err, s.discard(t, t.volumes, name))
	}

	return top, t.volumes.rename(name, t.volumes, r.Name)
}

// dropShell removes what an interrupted adoption left, if that is called name:
// it may be repeated with other settings.
func (t *tree) dropShell(name string) error {
	top, err := t.volumes.sub(name)
	if err != nil {
		return nil //nolint:nilerr // whoever looks for a volume there says what it is
	}

	defer top.Close()

	mark, err := top.mark(volumeMark)
	if err != nil || mark == nil {
		return err
	}

	if r, err := parseRecord(mark); err != nil || r.Adopted == "" {
		return nil //nolint:nilerr // as above
	}

	// Empty or not is for the file system to say, in the moment in which it goes.
	left, err := top.names(1)
	if err != nil || len(left) > 0 {
		return err
	}

	return t.volumes.remove(name)
}

// move puts the opened directory, which is called name in parent, into the shell.
func (s *Store) move(t *tree, parent dir, name string, source, shell dir) error {
	if err := s.opts.MayChange(); err != nil {
		return failf(ErrUnavailable, "this node doesn't serve any more: %w", err)
	}

	if err := parent.rename(name, shell, dataDir); err != nil {
		return err
	}

	moved, err := t.keep(shell.sub(dataDir))
	if err == nil && sameDir(moved, source) {
		return nil
	}

	// Somebody has put something else there since it was looked at.
	return errors.Join(failf(ErrPrecondition, "something else has taken its place: see what is there, and try again"),
		err, shell.rename(dataDir, parent, name))
}

func sameDir(a, b dir) bool {
	one, err := a.Stat()
	if err != nil {
		return false
	}

	other, err := b.Stat()

	return err == nil && os.SameFile(one, other)
}
