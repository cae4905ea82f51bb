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

const (
	quotaAttribute  = "user.test.quota"
	inodesAttribute = "user.test.inodes"
)

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
func (plainTools) SetQuota(_ context.Context, dir *os.File, bytes, inodes uint64) error {
	err := unix.Fsetxattr(int(dir.Fd()), quotaAttribute, strconv.AppendUint(nil, bytes, 10), 0)
	if err != nil || inodes == 0 {
		return err
	}

	return unix.Fsetxattr(int(dir.Fd()), inodesAttribute, strconv.AppendUint(nil, inodes, 10), 0)
}

// Quotas implements volume.Tools.
func (plainTools) Quotas(_ context.Context, dirs []*os.File) ([]volume.Quota, error) {
	out := make([]volume.Quota, len(dirs))

	for i, dir := range dirs {
		names, err := os.ReadDir(dir.Name())
		if err != nil {
			return nil, err
		}

		out[i].UsedInodes = uint64(len(names))

		for name, limit := range map[string]*uint64{quotaAttribute: &out[i].Limit, inodesAttribute: &out[i].InodeLimit} {
			*limit, err = numberAt(dir, name)
			if err != nil {
				return nil, err
			}
		}
	}

	return out, nil
}

// numberAt is an attribute of a directory, 0 if it isn't there.
func numberAt(dir *os.File, name string) (uint64, error) {
	value := make([]byte, 32)

	n, err := unix.Fgetxattr(int(dir.Fd()), name, value)
	if errors.Is(err, unix.ENODATA) {
		return 0, nil
	}

	if err != nil {
		return 0, err
	}

	return strconv.ParseUint(string(value[:n]), 10, 64)
}

// Snapshot implements volume.Tools.
func (plainTools) Snapshot(_ context.Context, from, to *os.File, name string) error {
	return os.CopyFS(filepath.Join(to.Name(), name), os.DirFS(filepath.Join(from.Name(), name)))
}
