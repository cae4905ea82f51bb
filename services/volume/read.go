package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// measured is how many volumes are measured by one run of a tool: each takes an
// open directory.
const measured = 64

// Get returns a volume.
func (s *Store) Get(ctx context.Context, name string) (Volume, error) {
	doing := fmt.Sprintf("look at volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return Volume{}, classify(doing, err)
	}

	return look(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		r, err := t.load(t.volumes, name, name)
		if err != nil {
			return Volume{}, err
		}

		return s.measure(ctx, t, r)
	})
}

// List returns all volumes in the order of their names. What is in the way
// without being a volume (a link, a directory without a mark) is left out: Get
// says what it is.
func (s *Store) List(ctx context.Context) ([]Volume, error) {
	return look(ctx, s, "list volumes", func(ctx context.Context, t *tree) ([]Volume, error) {
		names, err := t.volumes.names(0)
		if err != nil {
			return nil, err
		}

		slices.Sort(names)

		var out []Volume

		for batch := range slices.Chunk(names, measured) {
			volumes, err := s.list(ctx, t, batch)
			if err != nil {
				return nil, err
			}

			out = append(out, volumes...)
		}

		return out, nil
	})
}

// list returns those of names that are volumes, measured at one go.
func (s *Store) list(ctx context.Context, t *tree, names []string) ([]Volume, error) {
	var (
		records []record
		dirs    []*os.File
	)

	defer func() {
		for _, d := range dirs {
			_ = d.Close()
		}
	}()

	for _, name := range names {
		if strings.HasPrefix(name, ".") || CheckName(name) != nil {
			continue
		}

		r, data, err := loadWithData(t.volumes, name, name)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrPrecondition) {
			continue // removed just now, or in the way
		}

		if err != nil {
			return nil, err
		}

		records, dirs = append(records, r), append(dirs, data.File)
	}

	if len(dirs) == 0 {
		return nil, nil
	}

	quotas, err := s.opts.Tools.Quotas(ctx, dirs)
	if err != nil {
		return nil, err
	}

	out := make([]Volume, len(records))
	for i, r := range records {
		out[i] = r.volume(quotas[i])
	}

	return out, nil
}

// measure returns the volume of a record with what it uses.
func (s *Store) measure(ctx context.Context, t *tree, r record) (Volume, error) {
	_, data, err := loadWithData(t.volumes, r.Name, r.Name)
	if err != nil {
		return Volume{}, err
	}

	defer data.Close()

	quotas, err := s.opts.Tools.Quotas(ctx, []*os.File{data.File})
	if err != nil {
		return Volume{}, err
	}

	return r.volume(quotas[0]), nil
}

// load reads the record of the volume called name in the directory at of
// parent. These two differ in the archive.
func (t *tree) load(parent dir, at, name string) (record, error) {
	r, data, err := loadWithData(parent, at, name)
	if err != nil {
		return record{}, err
	}

	return r, data.Close()
}

// loadWithData reads a record and opens the volume's data.
func loadWithData(parent dir, at, name string) (record, dir, error) {
	top, err := parent.sub(at)
	if isNotExist(err) {
		return record{}, dir{}, failf(ErrNotFound, "there is no volume %s: \"antlerctl volume list\" shows those there are, with --archived the deleted ones too", name)
	}

	if err != nil {
		return record{}, dir{}, classify("open /"+volumesDir+"/"+at, err)
	}

	defer top.Close()

	mark, err := top.mark(volumeMark)
	if err != nil {
		return record{}, dir{}, err
	}

	if mark == nil {
		return record{}, dir{}, failf(ErrPrecondition, "/%s/%s is not a volume, it has no mark: look who put it there and move it away", volumesDir, at)
	}

	r, err := parseRecord(mark)
	if err != nil {
		return record{}, dir{}, fmt.Errorf("/%s/%s: %w", volumesDir, at, err)
	}

	if r.Name != name {
		return record{}, dir{}, failf(ErrPrecondition, "/%s/%s bears the mark of volume %s: it was renamed or copied by hand", volumesDir, at, r.Name)
	}

	data, err := top.sub(dataDir)
	if isNotExist(err) && r.Adopted != "" {
		return record{}, dir{}, failf(ErrPrecondition, "volume %s has no directory %q, as when its adoption was interrupted before %q was moved: adopt that again", name, dataDir, r.Adopted)
	}

	if err != nil {
		return record{}, dir{}, failf(ErrPrecondition, "volume %s has lost its directory %q: %w", name, dataDir, err)
	}

	return r, data, nil
}
