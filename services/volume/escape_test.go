package volume

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// outside is a directory that no operation may touch, with a whole volume in it
// so that nothing but the path is wrong.
func outside(t *testing.T) (path string, check func()) {
	t.Helper()

	other := newBench(t)
	other.create(t, "web")
	require.NoError(t, os.WriteFile(other.path("web", "data", "precious"), []byte("x"), 0o600))

	var before []string

	list := func() (out []string) {
		require.NoError(t, filepath.WalkDir(other.root, func(p string, _ os.DirEntry, err error) error {
			out = append(out, p)

			return err
		}))

		return out
	}
	before = list()

	return other.root, func() {
		t.Helper()
		require.Equal(t, before, list())
	}
}

// everything calls each operation on the name and returns their errors.
func everything(t *testing.T, b *bench, name string) map[string]error {
	t.Helper()

	out := map[string]error{}
	_, out["Create"] = b.Create(t.Context(), Spec{Name: name, Size: 10 << 20})
	_, out["Adopt"] = b.Adopt(t.Context(), Spec{Name: name, Size: 10 << 20}, "/elsewhere")
	_, out["Get"] = b.Get(t.Context(), name)
	_, out["Expand"] = b.Expand(t.Context(), name, 1<<30)
	_, out["Delete"] = b.Delete(t.Context(), name, time.Hour)
	_, out["Undelete"] = b.Undelete(t.Context(), name, "")
	_, out["DeleteUnused"] = b.DeleteUnused(t.Context(), name, "id-1", time.Hour)
	_, out["Use"] = b.Use(t.Context(), name, "id-1", "n1", Use{})
	_, out["EndUse"] = b.EndUse(t.Context(), name, "id-1", "n1")
	_, out["Modify"] = b.Modify(t.Context(), name, "id-1", Modification{Copies: 3})
	_, out["OpenData"] = b.OpenData(t.Context(), name, "id-1")
	_, out["Quota"] = b.Quota(t.Context(), name, "id-1")
	_, out["CreateSnapshot"] = b.CreateSnapshot(t.Context(), "snap", name, "id-1", nil)
	_, out["Clone"] = b.Create(t.Context(), Spec{Name: "copy", Size: 10 << 20, Source: Source{Volume: name, ID: "id-1"}})

	return out
}

func TestLinkInPlaceOfAVolume(t *testing.T) {
	target, untouched := outside(t)

	for what, to := range map[string]string{
		"absolute": filepath.Join(target, "volumes", "web"),
		"within":   "web2",
		"above":    "../..",
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			b.create(t, "web2")
			require.NoError(t, os.Symlink(to, b.path("web")))

			for op, err := range everything(t, b, "web") {
				if op == "Undelete" {
					continue // nothing in the archive: not found is right too
				}

				require.ErrorIs(t, err, ErrPrecondition, op)
			}

			list, err := b.List(t.Context())
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, "web2", list[0].Name)
			require.EqualValues(t, 10<<20, b.tools.quota[b.ino(t, "web2")])
			untouched()
		})
	}
}

func TestLinkInPlaceOfData(t *testing.T) {
	target, untouched := outside(t)
	b := newBench(t)
	b.create(t, "web")
	require.NoError(t, os.Remove(b.path("web", "data")))
	require.NoError(t, os.Symlink(filepath.Join(target, "volumes", "web", "data"), b.path("web", "data")))

	for op, err := range everything(t, b, "web") {
		if op != "Undelete" {
			require.ErrorIs(t, err, ErrPrecondition, op)
		}
	}

	untouched()
}

func TestLinkInPlaceOfTheTopDirectories(t *testing.T) {
	for _, name := range []string{".", ".archive", ".purge"} {
		t.Run(name, func(t *testing.T) {
			target, untouched := outside(t)
			b := newBench(t)
			b.create(t, "web")

			path := b.path(name)
			require.NoError(t, os.Rename(path, filepath.Join(b.root, "aside")))
			require.NoError(t, os.Symlink(filepath.Join(target, "volumes", name), path))

			for range expiryPasses {
				_, err := b.Purge(t.Context())
				require.ErrorIs(t, err, ErrPrecondition)
			}

			if name != ".purge" {
				_, err := b.Delete(t.Context(), "web", time.Hour)
				require.ErrorIs(t, err, ErrPrecondition)
			}

			untouched()
		})
	}
}

func TestPurgeRemovesLinksNotWhatTheyPointTo(t *testing.T) {
	target, untouched := outside(t)
	b := newBench(t)
	b.create(t, "web")

	require.NoError(t, os.MkdirAll(b.path("web", "data", "sub"), 0o755))
	require.NoError(t, os.Symlink(target, b.path("web", "data", "abs")))
	require.NoError(t, os.Symlink("../../../..", b.path("web", "data", "up")))
	require.NoError(t, os.Symlink(target, b.path("web", "data", "sub", "abs")))

	_, err := b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err)
	// One beside the volumes in the archive, with a name as if it were one.
	require.NoError(t, os.Symlink(target, b.path(".archive", "evil@20251120T120000Z~20251120T120001Z")))

	b.now = b.now.Add(2 * time.Hour)
	require.Len(t, expire(t, b), 2)

	left, err := os.ReadDir(b.path(".purge"))
	require.NoError(t, err)
	require.Empty(t, left)
	untouched()
}

func TestPurgeStopsAtAMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}

	target, untouched := outside(t)
	b := newBench(t)
	require.NoError(t, b.Prepare(t.Context()))

	inside := b.path(".purge", "x", "mnt")
	require.NoError(t, os.MkdirAll(inside, 0o755))
	// A bind mount of the same file system: its device number is no different.
	require.NoError(t, unix.Mount(target, inside, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(inside, unix.MNT_DETACH)) })

	_, err := b.Purge(t.Context())
	require.ErrorIs(t, err, unix.EBUSY)
	untouched()
}

func TestMountInPlaceOfAVolume(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}

	target, untouched := outside(t)
	b := newBench(t)
	require.NoError(t, b.Prepare(t.Context()))
	require.NoError(t, os.Mkdir(b.path("web"), 0o755))
	require.NoError(t, unix.Mount(filepath.Join(target, "volumes", "web"), b.path("web"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(b.path("web"), unix.MNT_DETACH)) })

	for op, err := range everything(t, b, "web") {
		if op != "Undelete" {
			require.ErrorIs(t, err, ErrPrecondition, op)
		}
	}

	untouched()
}

func TestComponentsOnly(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.Prepare(t.Context()))

	d := openDir(t, b.path())
	for _, name := range []string{"", ".", "..", "a/b", "/", "/etc", "../x", "a\x00b"} {
		_, err := d.sub(name)
		require.ErrorIs(t, err, unix.EINVAL, "%q", name)
		_, err = d.mkdir(name, 0o755)
		require.ErrorIs(t, err, unix.EINVAL, "%q", name)
		require.ErrorIs(t, d.remove(name), unix.EINVAL, "%q", name)
		require.ErrorIs(t, d.rename(name, d, "x"), unix.EINVAL, "%q", name)
		require.ErrorIs(t, d.rename("x", d, name), unix.EINVAL, "%q", name)
	}
}

func TestNothingIsWrittenWithoutMooseFS(t *testing.T) {
	b := newBench(t)
	b.Store = New(Options{
		Mount: b.root, Cluster: "cluster-1", Tools: b.tools, Verify: VerifyMooseFS, Now: time.Now,
		Defaults: Defaults{Copies: 2}, NewID: func() string { return "id" },
	})

	for op, err := range everything(t, b, "web") {
		require.ErrorIs(t, err, ErrUnavailable, op)
		require.ErrorContains(t, err, "MooseFS is not mounted at", op)
	}

	left, err := os.ReadDir(b.root)
	require.NoError(t, err)
	require.Empty(t, left, "a local directory was written to")
	require.Empty(t, b.tools.runs)

	b.Store = New(Options{Mount: b.root + "/nosuch", Cluster: "c", Tools: b.tools, Verify: VerifyMooseFS})
	_, err = b.List(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestAnotherClustersVolumesAreLeftAlone(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")
	b.Store = b.another("cluster-2")

	for op, err := range everything(t, b, "web") {
		require.ErrorIs(t, err, ErrUnavailable, op)
	}

	_, err := b.List(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestUnmarkedVolumesAreNotAdopted(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.MkdirAll(b.path("web", "data"), 0o755))

	err := b.Prepare(t.Context())
	require.ErrorIs(t, err, ErrPrecondition)
	require.ErrorContains(t, err, `has "web" in it`)

	_, err = b.List(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestForeignDirectoriesAreNoVolumes(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")
	require.NoError(t, os.Mkdir(b.path("byhand"), 0o755))
	require.NoError(t, os.WriteFile(b.path("file"), nil, 0o600))
	require.NoError(t, os.Rename(b.path("web"), b.path("shop")))

	list, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)

	for _, name := range []string{"byhand", "file", "shop"} {
		_, err := b.Get(t.Context(), name)
		require.ErrorIs(t, err, ErrPrecondition, name)
		_, err = b.Delete(t.Context(), name, time.Hour)
		require.ErrorIs(t, err, ErrPrecondition, name)
	}
}

func TestHangingMountDoesNotHangTheCaller(t *testing.T) {
	b := newBench(t)

	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		s := New(Options{
			Mount: b.root, Cluster: "cluster-1", Tools: b.tools, Now: time.Now, NewID: func() string { return "id" },
			Defaults: Defaults{Copies: 2}, Timeout: 10 * time.Second, Stuck: 2,
			Verify: func(*os.File) error { <-hang; return nil },
		})

		for range 4 {
			start := time.Now()
			_, err := s.List(context.Background())
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, 10*time.Second, time.Since(start))
		}

		require.EqualValues(t, 2, s.calls.running.Load(), "no more than Stuck calls may hang")

		// What held the lock lets others in when it goes on.
		close(hang)
		synctest.Wait()
		require.Zero(t, s.calls.running.Load())
		require.NoError(t, s.Prepare(context.Background()))
	})
}

func TestCallerThatGivesUpIsNotKeptWaiting(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := b.Create(ctx, Spec{Name: "web", Size: 1 << 30})
	require.ErrorIs(t, err, ErrUnavailable)
}

// A storm of changes takes longer than one call may, and fails neither itself nor
// those who look meanwhile.
func TestChangesThatWaitFailNobody(t *testing.T) {
	b := newBench(t)

	synctest.Test(t, func(t *testing.T) {
		s := New(Options{
			Mount: b.root, Cluster: "cluster-1", Tools: b.tools, Now: time.Now, NewID: func() string { return "id" },
			Defaults: Defaults{Copies: 2}, Timeout: 10 * time.Second, Stuck: 2,
			Verify: func(*os.File) error { time.Sleep(2 * time.Second); return nil },
		})
		require.NoError(t, s.Prepare(t.Context()))

		var group sync.WaitGroup

		for range 12 {
			group.Go(func() { assert.NoError(t, s.Prepare(t.Context())) })
		}

		synctest.Wait()

		_, err := s.List(t.Context())
		require.NoError(t, err)
		group.Wait()

		// One that hangs is given up on by those who wait, and lets the next ones go
		// on when it ends.
		hang := make(chan struct{})
		s.opts.Verify = func(*os.File) error { <-hang; return nil }

		for range 3 {
			group.Go(func() { assert.ErrorIs(t, s.Prepare(t.Context()), ErrUnavailable) })
		}

		group.Wait()
		close(hang)
		synctest.Wait()
		require.NoError(t, s.Prepare(t.Context()))
	})
}
