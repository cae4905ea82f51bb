package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var errCut = errors.New("the power was cut")

// foreign makes a directory elsewhere in MooseFS, with a file and a directory in
// it, and returns its path there.
func (b *bench) foreign(t *testing.T, path string) string {
	t.Helper()

	at := filepath.Join(b.root, path)
	require.NoError(t, os.MkdirAll(filepath.Join(at, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(at, "f"), []byte("precious"), 0o600))
	require.NoError(t, os.Chmod(at, 0o750))
	b.tools.used[b.inodeAt(t, path)] = 3 << 20

	return path
}

func (b *bench) inodeAt(t *testing.T, path string) uint64 {
	t.Helper()

	return inode(openDir(t, filepath.Join(b.root, path)).File)
}

// requireThere looks whether a directory is where it was, and all that it held.
func (b *bench) requireThere(t *testing.T, path string) {
	t.Helper()

	content, err := os.ReadFile(filepath.Join(b.root, path, "f"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
	require.DirExists(t, filepath.Join(b.root, path, "sub"))
}

func TestAdopt(t *testing.T) {
	b := newBench(t)
	from := b.foreign(t, "/exports/pvc-0815")
	ino := b.inodeAt(t, from)
	spec := Spec{Name: "photos", Size: 10 << 20, Copies: 3, InodeLimit: 5}

	v, err := b.Adopt(t.Context(), spec, from)
	require.NoError(t, err)
	require.Equal(t, Volume{
		Name: "photos", ID: v.ID, Size: 10 << 20, Used: 3 << 20, InodeLimit: 5, UsedInodes: 2, Copies: 3, StorageClass: "3CP",
		TrashTime: b.opts.Defaults.TrashTime, Created: b.now, Path: "/volumes/photos/data",
	}, v)
	require.Contains(t, b.events, "volume.adopted")

	// It is the directory itself, and its mode is its owner's.
	require.Equal(t, ino, b.ino(t, "photos"))
	require.Equal(t, "precious", b.content(t, "photos", "data", "f"))
	require.NoDirExists(t, filepath.Join(b.root, from))

	info, err := os.Stat(b.path("photos", "data"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o750), info.Mode().Perm())
	require.EqualValues(t, 10<<20, b.tools.quota[ino])
	require.EqualValues(t, 5, b.tools.inodes[ino])
	require.Equal(t, "3CP", b.tools.class[ino])
	require.Equal(t, v.TrashTime, b.tools.trash[ino])

	// The same again, on another node too, and without a size.
	for _, size := range []uint64{spec.Size, 0} {
		spec.Size = size
		again, err := b.another("cluster-1").Adopt(t.Context(), spec, from)
		require.NoError(t, err)
		require.Equal(t, v, again)
	}

	// It is a volume like any other.
	_, err = b.Modify(t.Context(), "photos", v.ID, Modification{InodeLimit: 9})
	require.NoError(t, err)

	again, err := b.Adopt(t.Context(), spec, from)
	require.NoError(t, err, "and still the one that was adopted")
	require.EqualValues(t, 9, again.InodeLimit)

	_, err = b.Create(t.Context(), Spec{Name: "photos", Size: 10 << 20, Copies: 3})
	require.ErrorIs(t, err, ErrExists)
}

func TestAdoptTakesOverTheQuota(t *testing.T) {
	b := newBench(t)
	from := b.foreign(t, "/pvc-1")

	_, err := b.Adopt(t.Context(), Spec{Name: "web"}, from)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "give a size")

	ino := b.inodeAt(t, from)
	b.tools.quota[ino], b.tools.inodes[ino] = 7<<20, 70

	v, err := b.Adopt(t.Context(), Spec{Name: "web"}, from)
	require.NoError(t, err)
	require.EqualValues(t, 7<<20, v.Size)
	require.EqualValues(t, 70, v.InodeLimit)
}

func TestAdoptRefusesWhatDoesNotFit(t *testing.T) {
	for want, spec := range map[string]Spec{
		"it holds 3145728 bytes, more than a size of 2097152": {Name: "web", Size: 2 << 20},
		"it has 2 files and directories":                      {Name: "web", Size: 10 << 20, InodeLimit: 1},
	} {
		b := newBench(t)
		from := b.foreign(t, "/pvc-1")

		_, err := b.Adopt(t.Context(), spec, from)
		require.ErrorIs(t, err, ErrPrecondition)
		require.ErrorContains(t, err, want)
		require.Empty(t, b.tools.class, "nothing about it was changed")
		require.False(t, b.exists("web"))
		b.requireThere(t, from)
	}
}

func TestAdoptRefusesANameThatIsTaken(t *testing.T) {
	b := newBench(t)
	from, other := b.foreign(t, "/pvc-1"), b.foreign(t, "/pvc-2")
	b.create(t, "created")
	require.NoError(t, os.Mkdir(b.path("byhand"), 0o755))

	_, err := b.Adopt(t.Context(), Spec{Name: "adopted", Size: 10 << 20}, other)
	require.NoError(t, err)

	for name, want := range map[string]error{"created": ErrExists, "adopted": ErrExists, "byhand": ErrPrecondition} {
		_, err = b.Adopt(t.Context(), Spec{Name: name, Size: 10 << 20}, from)
		require.ErrorIs(t, err, want, name)
		b.requireThere(t, from)
	}

	_, err = b.Adopt(t.Context(), Spec{Name: "web", Size: 10 << 20}, "/no/such")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "there is no directory /no in MooseFS")
}

// Up to the rename the directory is where it was and the name is nobody's; from
// there on it is a volume.
func TestAdoptInterruptedAnywhere(t *testing.T) {
	for _, tool := range []string{"Quotas", "EnsureClass", "SetClass", "SetTrashTime", "SetQuota", "the lease"} {
		t.Run(tool, func(t *testing.T) {
			b := newBench(t)
			from := b.foreign(t, "/pvc-1")
			spec, asked := Spec{Name: "web", Size: 10 << 20}, 0
			b.tools.fail = func(name string) error {
				if name == tool {
					return errCut
				}

				return nil
			}
			// The second time it is asked for is right before the rename.
			b.opts.MayChange = func() error {
				if asked++; asked == 2 && tool == "the lease" {
					return errCut
				}

				return nil
			}

			_, err := b.Adopt(t.Context(), spec, from)
			require.ErrorIs(t, err, errCut)
			b.requireThere(t, from)
			require.False(t, b.exists("web"))

			b.tools.fail = func(string) error { return nil }
			_, err = b.another("cluster-1").Adopt(t.Context(), spec, from)
			require.NoError(t, err)
			require.Equal(t, "precious", b.content(t, "web", "data", "f"))
		})
	}
}

// The power is cut when all is ready for the rename.
func TestAdoptInterruptedBeforeTheRename(t *testing.T) {
	b := newBench(t)
	from := b.foreign(t, "/pvc-1")

	_, err := change(t.Context(), b.Store, "begin", func(_ context.Context, tr *tree) (struct{}, error) {
		r, err := Spec{Name: "web", Size: 10 << 20}.complete(b.opts.Defaults)
		require.NoError(t, err)

		r.ID, r.Adopted = "id-cut", from
		_, err = b.shell(tr, r)

		return struct{}{}, err
	})
	require.NoError(t, err)

	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)

	_, created := b.Create(t.Context(), Spec{Name: "web", Size: 10 << 20})
	_, got := b.Get(t.Context(), "web")
	_, deleted := b.Delete(t.Context(), "web", time.Hour)

	for _, err := range []error{created, got, deleted} {
		require.ErrorIs(t, err, ErrPrecondition)
		require.ErrorContains(t, err, `before "/pvc-1" was moved: adopt that again`)
	}

	b.requireThere(t, from)

	// With other settings, too: nothing was done with those.
	v, err := b.Adopt(t.Context(), Spec{Name: "web", Size: 20 << 20}, from)
	require.NoError(t, err)
	require.EqualValues(t, 20<<20, v.Size)
	require.Equal(t, "precious", b.content(t, "web", "data", "f"))
}

func TestAdoptDoesNotLeaveTheTree(t *testing.T) {
	target, untouched := outside(t)
	b := newBench(t)
	b.create(t, "there")
	b.foreign(t, "/dir/pvc-1")
	require.NoError(t, os.Symlink(filepath.Join(target, "volumes", "web"), filepath.Join(b.root, "abs")))
	require.NoError(t, os.Symlink("dir/pvc-1", filepath.Join(b.root, "within")))
	require.NoError(t, os.Symlink("..", filepath.Join(b.root, "dir", "up")))
	require.NoError(t, os.Symlink("volumes", filepath.Join(b.root, "others")))
	require.NoError(t, os.WriteFile(filepath.Join(b.root, "file"), nil, 0o600))

	for path, want := range map[string]error{
		"": ErrInvalid, "/": ErrInvalid, "dir/pvc-1": ErrInvalid, "/dir/pvc-1/": ErrInvalid, "//dir": ErrInvalid, "/dir//pvc-1": ErrInvalid,
		"/dir/../volumes": ErrInvalid, "/..": ErrInvalid, "/./dir": ErrInvalid, "/dir/.": ErrInvalid, "/dir\x00": ErrInvalid,
		"/volumes": ErrInvalid, "/volumes/there": ErrInvalid, "/volumes/there/data": ErrInvalid, "/volumes/.archive": ErrInvalid,
		"/" + strings.Repeat("a", 256): ErrInvalid, strings.Repeat("/aaaaaaa", 600): ErrInvalid,
		"/abs": ErrPrecondition, "/abs/data": ErrPrecondition, "/within": ErrPrecondition, "/dir/up": ErrPrecondition,
		"/dir/up/dir/pvc-1": ErrPrecondition, "/others": ErrPrecondition, "/others/there": ErrPrecondition, "/file": ErrPrecondition,
	} {
		_, err := b.Adopt(t.Context(), Spec{Name: "taken", Size: 10 << 20}, path)
		require.ErrorIs(t, err, want, "%q", path)
		require.False(t, b.exists("taken"), "%q", path)
	}

	for _, name := range []string{"", "..", "a/b", ".archive"} {
		_, err := b.Adopt(t.Context(), Spec{Name: name, Size: 10 << 20}, "/dir/pvc-1")
		require.ErrorIs(t, err, ErrInvalid, "%q", name)
	}

	b.requireThere(t, "/dir/pvc-1")
	require.True(t, b.exists("there", "data"))
	untouched()
}

func TestAdoptStopsAtAMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}

	target, untouched := outside(t)
	b := newBench(t)
	b.foreign(t, "/dir/pvc-1")

	at := filepath.Join(b.root, "dir")
	require.NoError(t, unix.Mount(target, at, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(at, unix.MNT_DETACH)) })

	for _, path := range []string{"/dir", "/dir/volumes/web"} {
		_, err := b.Adopt(t.Context(), Spec{Name: "taken", Size: 10 << 20}, path)
		require.ErrorIs(t, err, ErrPrecondition, path)
	}

	untouched()
}

// What is put in the directory's place between the look at it and the rename is
// not made a volume, and stays where it was put.
func TestAdoptOfWhatWasExchanged(t *testing.T) {
	target, untouched := outside(t)

	for what, exchange := range map[string]func(path string) error{
		"for a link":      func(path string) error { return os.Symlink(filepath.Join(target, "volumes", "web"), path) },
		"for a directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			from := b.foreign(t, "/pvc-1")
			path := filepath.Join(b.root, from)

			b.tools.fail = func(tool string) error {
				if tool != "SetQuota" {
					return nil
				}

				return errors.Join(os.Rename(path, path+"-aside"), exchange(path))
			}

			_, err := b.Adopt(t.Context(), Spec{Name: "web", Size: 10 << 20}, from)
			require.ErrorIs(t, err, ErrPrecondition)
			require.ErrorContains(t, err, "something else has taken its place")
			require.False(t, b.exists("web"))
			b.requireThere(t, from+"-aside")

			_, err = os.Lstat(path)
			require.NoError(t, err, "it is back where it was")
			untouched()
		})
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/pvc-1", "/a/b", "/", "", "..", "/../x", "/volumes", "/volumes2", "/a//b", "/a/", "/a\x00"} {
		f.Add(seed)
	}

	f.Fuzz(func(t *testing.T, path string) {
		steps, err := parsePath(path)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)

			return
		}

		require.Equal(t, path, "/"+strings.Join(steps, "/"))
		require.Equal(t, path, filepath.Clean(path), "there is one way to write it")
		require.NotEqual(t, volumesDir, steps[0])

		for _, step := range steps {
			require.NoError(t, component(step))
		}
	})
}
