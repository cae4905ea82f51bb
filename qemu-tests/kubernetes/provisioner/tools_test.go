//go:build controlplane

package provisioner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"antler/services/volume"
)

// plainTools stand for MooseFS's own programs on a file system that isn't
// MooseFS: what they set is written next to the directory's own mark.
type plainTools struct{}

const quotaAttribute = "user.test.quota"

// EnsureClass implements volume.Tools.
func (plainTools) EnsureClass(context.Context, *os.File, string, int) error { return nil }

// SetClass implements volume.Tools.
func (plainTools) SetClass(_ context.Context, _ *os.File, class string) error {
	if !slices.Contains([]string{"2CP", "3CP"}, class) {
		return volume.ErrInvalid
	}

	return nil
}

// SetTrashTime implements volume.Tools.
func (plainTools) SetTrashTime(context.Context, *os.File, time.Duration) error { return nil }

// SetQuota implements volume.Tools.
func (plainTools) SetQuota(_ context.Context, dir *os.File, bytes uint64) error {
	return unix.Fsetxattr(int(dir.Fd()), quotaAttribute, strconv.AppendUint(nil, bytes, 10), 0)
}

// Quotas implements volume.Tools.
func (plainTools) Quotas(_ context.Context, dirs []*os.File) ([]volume.Quota, error) {
	out := make([]volume.Quota, len(dirs))

	for i, dir := range dirs {
		value := make([]byte, 32)

		n, err := unix.Fgetxattr(int(dir.Fd()), quotaAttribute, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}

		if err != nil {
			return nil, err
		}

		out[i].Limit, err = strconv.ParseUint(string(value[:n]), 10, 64)
		if err != nil {
			return nil, err
		}
	}

	return out, nil
}

// Snapshot implements volume.Tools.
func (plainTools) Snapshot(_ context.Context, from, to *os.File, name string) error {
	return os.CopyFS(filepath.Join(to.Name(), name), os.DirFS(filepath.Join(from.Name(), name)))
}
