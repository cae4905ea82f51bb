package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenData opens the data of the volume with this name and id, after checking
// that it is on this cluster's MooseFS, that a master answers and that the mark
// is that volume's. The caller closes it.
func (s *Store) OpenData(ctx context.Context, name, id string) (*os.File, error) {
	doing := fmt.Sprintf("open volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return nil, classify(doing, err)
	}

	return look(ctx, s, doing, func(ctx context.Context, t *tree) (*os.File, error) {
		r, data, err := loadWithData(t.volumes, name, name)
		if err != nil {
			return nil, err
		}

		if r.ID != id {
			err = failf(ErrNotFound, "the volume called %s now is another one", name)
		}

		// Nobody takes what comes too late.
		if err := errors.Join(err, ctx.Err()); err != nil {
			_ = data.Close()

			return nil, err
		}

		return data.File, nil
	})
}

// Quota returns the quota of the volume with this name and id, as the master
// knows it. A client's mount may remember a volume's mark for half a minute
// (mfsxattrcacheto), so what the mark says about its size may be old there.
func (s *Store) Quota(ctx context.Context, name, id string) (Quota, error) {
	doing := fmt.Sprintf("look at the quota of volume %.*s", MaxName, name)

	if err := CheckName(name); err != nil {
		return Quota{}, classify(doing, err)
	}

	return look(ctx, s, doing, func(ctx context.Context, t *tree) (Quota, error) {
		r, data, err := loadWithData(t.volumes, name, name)
		if err != nil {
			return Quota{}, err
		}
		defer data.Close()

		if r.ID != id {
			return Quota{}, failf(ErrNotFound, "the volume called %s now is another one", name)
		}

		quotas, err := s.opts.Tools.Quotas(ctx, []*os.File{data.File})
		if err != nil {
			return Quota{}, err
		}

		return quotas[0], nil
	})
}

// Capacity is how many bytes are free on all chunkservers, before copies.
func (s *Store) Capacity(ctx context.Context) (uint64, error) {
	return look(ctx, s, "ask for the free space", func(_ context.Context, t *tree) (uint64, error) {
		var fs unix.Statfs_t

		if err := retry(func() error { return unix.Fstatfs(int(t.mount.Fd()), &fs) }); err != nil {
			return 0, err
		}

		return fs.Bavail * uint64(fs.Bsize), nil
	})
}
