package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fakeTools remembers what was set, by inode: a directory keeps its settings
// when it is renamed.
type fakeTools struct {
	mu      sync.Mutex
	classes map[string]int
	class   map[uint64]string
	trash   map[uint64]time.Duration
	quota   map[uint64]uint64
	used    map[uint64]uint64
	// inodes are limits. What counts against them is counted.
	inodes map[uint64]uint64
	// fail returns the error of a tool, by its name.
	fail func(tool string) error
	runs []string
}

func newFakeTools() *fakeTools {
	return &fakeTools{
		classes: map[string]int{"2CP": 2}, class: map[uint64]string{}, trash: map[uint64]time.Duration{},
		quota: map[uint64]uint64{}, used: map[uint64]uint64{}, inodes: map[uint64]uint64{}, fail: func(string) error { return nil },
	}
}

func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		panic(err)
	}

	return st.Ino
}

func (t *fakeTools) do(tool string, f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.runs = append(t.runs, tool)
	if err := t.fail(tool); err != nil {
		return err
	}

	return f()
}

func (t *fakeTools) EnsureClass(_ context.Context, _ *os.File, class string, copies int) error {
	return t.do("EnsureClass", func() error { t.classes[class] = copies; return nil })
}

func (t *fakeTools) SetClass(_ context.Context, dir *os.File, class string) error {
	return t.do("SetClass", func() error {
		if _, ok := t.classes[class]; !ok {
			return failf(ErrInvalid, "storage class %s does not exist", class)
		}

		t.class[inode(dir)] = class

		return nil
	})
}

func (t *fakeTools) SetTrashTime(_ context.Context, dir *os.File, d time.Duration) error {
	return t.do("SetTrashTime", func() error { t.trash[inode(dir)] = d; return nil })
}

func (t *fakeTools) SetQuota(_ context.Context, dir *os.File, size, inodes uint64) error {
	return t.do("SetQuota", func() error {
		t.quota[inode(dir)] = size

		if inodes > 0 {
			t.inodes[inode(dir)] = inodes
		}

		return nil
	})
}

func (t *fakeTools) Quotas(_ context.Context, dirs []*os.File) (quotas []Quota, err error) {
	err = t.do("Quotas", func() error {
		for _, d := range dirs {
			quotas = append(quotas, Quota{
				Used: t.used[inode(d)], Limit: t.quota[inode(d)], UsedInodes: below(d), InodeLimit: t.inodes[inode(d)],
			})
		}

		return nil
	})

	return quotas, err
}

// below counts what is below an open directory, wherever it has been moved.
func below(d *os.File) (count uint64) {
	root := fmt.Sprintf("/proc/self/fd/%d/", d.Fd())

	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if path != root {
			count++
		}

		return err
	})
	if err != nil {
		panic(err)
	}

	return count
}

func (t *fakeTools) Snapshot(_ context.Context, from, to *os.File, name string) error {
	return t.do("Snapshot", func() error {
		return os.CopyFS(filepath.Join(to.Name(), name), os.DirFS(filepath.Join(from.Name(), name)))
	})
}

// bench is a Store on a directory that stands for a MooseFS.
type bench struct {
	*Store
	tools *fakeTools
	root  string
	now   time.Time
	// events are the kinds that were emitted.
	events []string
	// verify is what the check of the mount says.
	verify error
	ids    int
}

func newBench(t *testing.T) *bench {
	t.Helper()

	b := &bench{tools: newFakeTools(), root: t.TempDir(), now: time.Date(2025, 11, 20, 12, 0, 0, 0, time.UTC)}

	if err := unix.Setxattr(b.root, "user.antler.test", []byte("x"), 0); errors.Is(err, unix.ENOTSUP) {
		t.Skip("the file system of the temporary directory has no user attributes")
	}

	b.Store = b.another("cluster-1")

	return b
}

// another returns a Store on the same directory: antlerd after a restart, or on
// another node.
func (b *bench) another(cluster string) *Store {
	return New(Options{
		Mount: b.root, Cluster: cluster, Tools: b.tools,
		Defaults: Defaults{Copies: 2, TrashTime: 24 * time.Hour},
		Verify:   func(*os.File) error { return b.verify },
		Now:      func() time.Time { return b.now },
		NewID:    func() string { b.ids++; return fmt.Sprintf("id-%d", b.ids) },
		Emit:     func(kind, _ string) { b.events = append(b.events, kind) },
	})
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.root, "volumes"}, parts...)...)
}

func (b *bench) exists(parts ...string) bool {
	_, err := os.Lstat(b.path(parts...))

	return err == nil
}

// ino returns the inode of a volume's data.
func (b *bench) ino(t *testing.T, name string) uint64 {
	t.Helper()

	f, err := os.Open(b.path(name, "data"))
	require.NoError(t, err)

	defer f.Close()

	return inode(f)
}

func (b *bench) create(t *testing.T, name string) Volume {
	t.Helper()

	v, err := b.Create(t.Context(), Spec{Name: name, Size: 10 << 20})
	require.NoError(t, err)

	return v
}

func TestCreateMakesAVolume(t *testing.T) {
	b := newBench(t)
	trash := 90 * time.Minute

	v, err := b.Create(t.Context(), Spec{
		Name: "web", Size: 5 << 30, Copies: 3, TrashTime: &trash, Labels: map[string]string{"app": "shop"},
	})
	require.NoError(t, err)

	want := Volume{
		Name: "web", ID: "id-1", Size: 5 << 30, Copies: 3, StorageClass: "3CP", TrashTime: 2 * time.Hour,
		Labels: map[string]string{"app": "shop"}, Created: b.now, Path: "/volumes/web/data",
	}
	require.Equal(t, want, v)

	ino := b.ino(t, "web")
	require.EqualValues(t, 5<<30, b.tools.quota[ino])
	require.Equal(t, "3CP", b.tools.class[ino])
	require.Equal(t, 2*time.Hour, b.tools.trash[ino])

	b.tools.used[ino] = 4711
	want.Used = 4711

	got, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, want, got)

	for path, mode := range map[string]os.FileMode{b.path(): 0o700, b.path("web"): 0o755, b.path("web", "data"): 0o777} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode().Perm(), path)
	}
}

func TestCreateIsIdempotent(t *testing.T) {
	b := newBench(t)
	spec := Spec{Name: "web", Size: 10 << 20}
	first := b.create(t, "web")

	again, err := b.another("cluster-1").Create(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, first, again)

	_, err = b.Expand(t.Context(), "web", 20<<20)
	require.NoError(t, err)

	again, err = b.Create(t.Context(), spec)
	require.NoError(t, err, "a retry of Create must not fail because the volume has been expanded since")
	require.EqualValues(t, 20<<20, again.Size)

	hour := time.Hour
	for _, c := range []struct {
		change func(*Spec)
		says   string
	}{
		{func(s *Spec) { s.Size = 30 << 20 }, "its size is 20971520 bytes, not 31457280"},
		{func(s *Spec) { s.Copies = 3 }, "its storage class is 2CP, not 3CP"},
		{func(s *Spec) { s.StorageClass = "EC4+1" }, "its storage class is 2CP, not EC4+1"},
		{func(s *Spec) { s.TrashTime = &hour }, "its trash time is 86400 s, not 3600 s"},
		{func(s *Spec) { s.Labels = map[string]string{"a": "b"} }, "its labels are others"},
	} {
		other := spec
		c.change(&other)
		_, err := b.Create(t.Context(), other)
		require.ErrorIs(t, err, ErrExists)
		require.ErrorContains(t, err, c.says)
	}
}

func TestCreateRefusesBadRequests(t *testing.T) {
	b := newBench(t)
	negative, long := -time.Second, MaxTrashTime+time.Second

	for _, spec := range []Spec{
		{},
		{Name: "../etc", Size: 1 << 30},
		{Name: ".archive", Size: 1 << 30},
		{Name: "web", Size: MinSize - 1},
		{Name: "web", Size: MaxSize + 1},
		{Name: "web", Size: 1 << 30, Copies: 10},
		{Name: "web", Size: 1 << 30, Copies: -1},
		{Name: "web", Size: 1 << 30, Copies: 2, StorageClass: "2CP"},
		{Name: "web", Size: 1 << 30, StorageClass: "--help"},
		{Name: "web", Size: 1 << 30, StorageClass: "a b"},
		{Name: "web", Size: 1 << 30, StorageClass: "nosuch"},
		{Name: "web", Size: 1 << 30, TrashTime: &negative},
		{Name: "web", Size: 1 << 30, TrashTime: &long},
		{Name: "web", Size: 1 << 30, Labels: map[string]string{"": "x"}},
		{Name: "web", Size: 1 << 30, Labels: map[string]string{"x": strings.Repeat("x", 2000)}},
	} {
		_, err := b.Create(t.Context(), spec)
		require.ErrorIs(t, err, ErrInvalid, "%+v", spec)
	}

	require.False(t, b.exists("web"))
}

// Whatever step of Create is the last one before a crash, the name is free or
// holds a whole volume, and creating it again works.
func TestCreateSurvivesInterruption(t *testing.T) {
	for _, tool := range []string{"EnsureClass", "SetClass", "SetTrashTime", "SetQuota"} {
		t.Run(tool, func(t *testing.T) {
			b := newBench(t)
			require.NoError(t, b.Prepare(t.Context()))

			b.tools.fail = func(name string) error {
				if name == tool {
					return errors.New("power cut")
				}

				return nil
			}

			_, err := b.Create(t.Context(), Spec{Name: "web", Size: 1 << 30})
			require.ErrorContains(t, err, "create volume web: power cut")
			require.False(t, b.exists("web"))

			b.tools.fail = func(string) error { return nil }
			b.create(t, "web")
			require.EqualValues(t, 10<<20, b.tools.quota[b.ino(t, "web")])
		})
	}

	t.Run("leftover of a crash", func(t *testing.T) {
		b := newBench(t)
		require.NoError(t, b.Prepare(t.Context()))
		require.NoError(t, os.MkdirAll(b.path(".creating-web", "data", "half"), 0o755))
		require.NoError(t, os.MkdirAll(b.path(".creating-other", "data"), 0o755))

		b.create(t, "web")
		require.False(t, b.exists("web", "data", "half"), "what a crash left must not become part of a volume")

		list, err := b.List(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 1)

		_, err = b.Purge(t.Context())
		require.NoError(t, err)
		require.False(t, b.exists(".creating-other"))

		left, err := os.ReadDir(b.path(".purge"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestListIsSortedAndMeasuredInBatches(t *testing.T) {
	b := newBench(t)

	for i := range measured + 3 {
		b.create(t, fmt.Sprintf("v%03d", i))
	}

	b.tools.used[b.ino(t, "v065")] = 99
	b.tools.runs = nil

	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, measured+3)

	for i, v := range list {
		require.Equal(t, fmt.Sprintf("v%03d", i), v.Name)
	}

	require.EqualValues(t, 99, list[65].Used)
	require.Len(t, b.tools.runs, 2, "one run of the tool for each %d volumes", measured)
}

func TestExpandOnlyGrows(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")

	v, err := b.Expand(t.Context(), "web", 20<<20)
	require.NoError(t, err)
	require.EqualValues(t, 20<<20, v.Size)
	require.EqualValues(t, 20<<20, b.tools.quota[b.ino(t, "web")])

	_, err = b.Expand(t.Context(), "web", 20<<20)
	require.NoError(t, err, "idempotent")

	_, err = b.Expand(t.Context(), "web", 20<<20-1)
	require.ErrorIs(t, err, ErrPrecondition)
	require.EqualValues(t, 20<<20, b.tools.quota[b.ino(t, "web")])

	require.Equal(t, []string{"volume.created", "volume.expanded"}, b.events, "only what was done is told")

	_, err = b.Expand(t.Context(), "nosuch", 20<<20)
	require.ErrorIs(t, err, ErrNotFound)

	_, err = b.Expand(t.Context(), "web", 1)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestExpandInterruptedIsRepeated(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")
	b.tools.fail = func(tool string) error {
		if tool == "SetQuota" {
			return errors.New("power cut")
		}

		return nil
	}

	_, err := b.Expand(t.Context(), "web", 20<<20)
	require.ErrorContains(t, err, "power cut")

	v, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.EqualValues(t, 10<<20, v.Size, "it doesn't say more than it has")
}
