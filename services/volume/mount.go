package volume

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers by which MooseFS's own tools recognise the root of a mount
// (mfsclient/tools_common.c, open_master_conn): a file that only mfsmount makes
// up, with this inode number and one of these sizes.
const (
	masterInfo      = ".masterinfo"
	masterInfoInode = 0x7FFFFFFF
	// fuseMagic is statfs(2)'s type of a FUSE file system (linux/magic.h).
	fuseMagic = 0x65735546
)

// VerifyMooseFS returns an error of kind ErrUnavailable unless root is the open
// root directory of a MooseFS mount whose master answers.
func VerifyMooseFS(root *os.File) error {
	var fs unix.Statfs_t

	// mfsmount asks the master for the numbers of statfs, so this is also the
	// question whether it answers.
	if err := retry(func() error { return unix.Fstatfs(int(root.Fd()), &fs) }); err != nil {
		return failf(ErrUnavailable, "MooseFS at %s does not answer: %w", root.Name(), err)
	}

	if fs.Type != fuseMagic {
		return failf(ErrUnavailable, "MooseFS is not mounted at %s", root.Name())
	}

	var st unix.Stat_t

	err := retry(func() error { return unix.Fstatat(int(root.Fd()), masterInfo, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return failf(ErrUnavailable, "MooseFS at %s does not answer: %w", root.Name(), err)
	}

	if err != nil || st.Ino != masterInfoInode || st.Size != 10 && st.Size != 14 && st.Size != 22 {
		return failf(ErrUnavailable, "what is mounted at %s is not the root of a MooseFS", root.Name())
	}

	return nil
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
