package volume

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Names in the tree; see the package's description.
const (
	volumesDir  = "volumes"
	dataDir     = "data"
	archiveDir  = ".archive"
	purgeDir    = ".purge"
	snapshotDir = ".snapshots"
	creating    = ".creating-"
	volumeMark  = "user.antler.volume"
	clusterMark = "user.antler.cluster"
	// snapshotMark is a snapshot's record.
	snapshotMark = "user.antler.snapshot"
)

// Tools are what MooseFS has no system call for. All of them take an open
// directory on MooseFS, never a path.
type Tools interface {
	// EnsureClass makes the storage class that keeps so many copies, each on
	// another node, if the MooseFS that mount belongs to hasn't got it.
	EnsureClass(ctx context.Context, mount *os.File, class string, copies int) error
	// SetClass is for what is created in dir from now on. A class that doesn't
	// exist is an error of kind ErrInvalid.
	SetClass(ctx context.Context, dir *os.File, class string) error
	// SetTrashTime is for what is created in dir from now on, in whole hours.
	SetTrashTime(ctx context.Context, dir *os.File, d time.Duration) error
	// SetQuota limits the sum of the lengths of all files below dir, and how many
	// inodes there may be. 0 inodes leaves that limit as it is.
	SetQuota(ctx context.Context, dir *os.File, bytes, inodes uint64) error
	// Quotas returns what each directory's quota is, and what counts against it.
	Quotas(ctx context.Context, dirs []*os.File) ([]Quota, error)
	// Snapshot makes the directory name in to, where nothing has that name, a
	// copy of the directory name in from as it is at one moment. It takes no
	// room until one of the two changes.
	Snapshot(ctx context.Context, from, to *os.File, name string) error
}

// Quota of a directory. A limit is 0 where there is none.
type Quota struct {
	// Used is the sum of the lengths of all files below it, in bytes.
	Used, Limit uint64
	// UsedInodes are the files, directories and links below it.
	UsedInodes, InodeLimit uint64
}

// Options of a Store. All of them must be set, but MayChange, Emit, Timeout and
// Stuck; the latter are 15 s and 8 if they aren't.
type Options struct {
	// Mount is where the root of MooseFS is mounted with the right to set
	// quotas.
	Mount string
	// Cluster is the id that the volumes are marked with.
	Cluster  string
	Defaults Defaults
	Tools    Tools
	// Verify returns an error of kind ErrUnavailable unless it was given the
	// root of a live MooseFS: VerifyMooseFS, but in tests.
	Verify func(root *os.File) error
	Now    func() time.Time
	// NewID returns a random UUID.
	NewID func() string
	// MayChange returns an error while this node may not change volumes: it is
	// the epoch's fence, and is asked once more right before a change. Nil: it
	// always may.
	MayChange func() error
	// Emit tells the cluster's log of a change that was made; nil: nobody.
	Emit func(kind, message string)
	// Timeout is the longest that a call takes; Stuck is how many may hang in
	// the kernel at once. Patience is how long a change waits for others before it.
	Timeout  time.Duration
	Stuck    int
	Patience time.Duration
}

// Store keeps the volumes of a cluster. Its methods may be called from many
// goroutines. Changes wait for each other; on another node no other Store may
// make changes, so it is used on the serving node only.
type Store struct {
	opts  Options
	calls *Calls
	// changing has one place: whoever filled it makes changes.
	changing chan struct{}
	expiry   expiry
}

// New returns the Store for opts. It touches nothing yet.
func New(opts Options) *Store {
	if opts.Timeout == 0 {
		opts.Timeout = 15 * time.Second
	}

	if opts.Stuck == 0 {
		opts.Stuck = 8
	}

	if opts.Patience == 0 {
		opts.Patience = time.Minute
	}

	if opts.Emit == nil {
		opts.Emit = func(string, string) {}
	}

	if opts.MayChange == nil {
		opts.MayChange = func() error { return nil }
	}

	return &Store{
		opts:     opts,
		calls:    NewCalls(opts.Stuck, opts.Timeout),
		changing: make(chan struct{}, 1),
		expiry:   expiry{},
	}
}

// Prepare makes what volumes need in a new MooseFS; in one that has it, it
// checks. Idempotent.
func (s *Store) Prepare(ctx context.Context) error {
	_, err := change(ctx, s, "prepare volumes", func(context.Context, *tree) (struct{}, error) {
		return struct{}{}, nil
	})

	return err
}

// tree is the opened root of MooseFS and its directory of volumes, both known
// to be what they should be.
type tree struct {
	mount, volumes dir
	opened         []dir
}

// keep sees to it that d is closed with the tree.
func (t *tree) keep(d dir, err error) (dir, error) {
	if err == nil {
		t.opened = append(t.opened, d)
	}

	return d, err
}

func (t *tree) close() {
	for _, d := range t.opened {
		_ = d.Close()
	}
}

// look runs f with the tree opened and verified.
func look[T any](ctx context.Context, s *Store, doing string, f func(context.Context, *tree) (T, error)) (T, error) {
	return Run(ctx, s.calls, doing, func(ctx context.Context) (T, error) {
		var none T

		t := &tree{}
		defer t.close()

		if err := s.open(t); err != nil {
			return none, err
		}

		volumes, err := t.keep(t.mount.sub(volumesDir))
		if isNotExist(err) {
			return none, failf(ErrUnavailable, "volumes are not set up yet: wait until a master has served for a moment")
		}

		if err != nil {
			return none, err
		}

		t.volumes = volumes
		if err := s.checkMark(t); err != nil {
			return none, err
		}

		return f(ctx, t)
	})
}

// change runs f with the tree opened, verified and prepared, while nobody else
// makes changes. Waiting for others has a time of its own and holds none of the
// few calls that may hang: else a storm of changes would fail each other and
// everybody who only looks.
func change[T any](ctx context.Context, s *Store, doing string, f func(context.Context, *tree) (T, error)) (T, error) {
	var none T

	if err := s.await(ctx); err != nil {
		return none, classify(doing, err)
	}

	// Whoever is first here decides: the call that begins, and then holds its place
	// until the kernel lets it go, or the one who gave up before it did.
	var decided atomic.Bool

	value, err := Run(ctx, s.calls, doing, func(ctx context.Context) (T, error) {
		if !decided.CompareAndSwap(false, true) {
			return none, ctx.Err()
		}

		defer func() { <-s.changing }()

		return changed(ctx, s, f)
	})

	if decided.CompareAndSwap(false, true) {
		<-s.changing
	}

	return value, err
}

// await waits until nobody else makes changes.
func (s *Store) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Patience)
	defer cancel()

	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return failf(ErrUnavailable, "another change takes its time: try again")
	}
}

// changed is change without waiting.
func changed[T any](ctx context.Context, s *Store, f func(context.Context, *tree) (T, error)) (T, error) {
	var none T

	t := &tree{}
	defer t.close()

	if err := s.open(t); err != nil {
		return none, err
	}

	if err := s.opts.MayChange(); err != nil {
		return none, failf(ErrUnavailable, "this node doesn't serve now: %w", err)
	}

	if err := s.prepare(t); err != nil {
		return none, err
	}

	// The caller may have given up while this waited.
	if err := ctx.Err(); err != nil {
		return none, err
	}

	return f(ctx, t)
}

// open opens the mount point and verifies that it is one.
func (s *Store) open(t *tree) error {
	fd, err := unix.Open(s.opts.Mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failf(ErrUnavailable, "MooseFS is not mounted at %s: %w", s.opts.Mount, err)
	}

	t.mount, _ = t.keep(dir{os.NewFile(uintptr(fd), s.opts.Mount)}, nil)

	return s.opts.Verify(t.mount.File)
}

// prepare opens the directory of volumes, makes it if it is missing, and marks
// it as this cluster's if it is empty.
func (s *Store) prepare(t *tree) error {
	volumes, err := t.keep(t.mount.mkdir(volumesDir, 0o700))
	if err != nil {
		return err
	}

	t.volumes = volumes

	mark, err := volumes.mark(clusterMark)
	if err != nil {
		return err
	}

	if mark == nil {
		if err := s.claim(t); err != nil {
			return err
		}
	}

	return s.checkMark(t)
}

// claim marks an empty directory of volumes. The mark comes last, so that all
// of it is done again if it is interrupted.
func (s *Store) claim(t *tree) error {
	names, err := t.volumes.names(0)
	if err != nil {
		return err
	}

	for _, name := range names {
		if name != archiveDir && name != purgeDir {
			return failf(ErrPrecondition, "/%s has %q in it but no cluster's mark: if these are this cluster's volumes, set its attribute %s to %s",
				volumesDir, name, clusterMark, s.opts.Cluster)
		}
	}

	for _, name := range []string{archiveDir, purgeDir} {
		if _, err := t.keep(t.volumes.mkdir(name, 0o700)); err != nil {
			return err
		}
	}

	return t.volumes.setMark(clusterMark, []byte(s.opts.Cluster))
}

// checkMark refuses volumes of another cluster.
func (s *Store) checkMark(t *tree) error {
	mark, err := t.volumes.mark(clusterMark)
	if err != nil {
		return err
	}

	if string(mark) != s.opts.Cluster {
		return failf(ErrUnavailable, "what is mounted at %s belongs to cluster %.50q, not %q: check the mount", s.opts.Mount, mark, s.opts.Cluster)
	}

	return nil
}
