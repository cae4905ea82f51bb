package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fill writes a file into a volume.
func (b *bench) fill(t *testing.T, volume, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(b.path(volume, "data", file), []byte(content), 0o644))
}

func (b *bench) content(t *testing.T, parts ...string) string {
	t.Helper()

	content, err := os.ReadFile(b.path(parts...))
	require.NoError(t, err)

	return string(content)
}

func TestSnapshotStaysAsItWas(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	b.fill(t, "web", "f", "before")

	taken, err := b.CreateSnapshot(t.Context(), "monday", "web", v.ID, map[string]string{"a": "b"})
	require.NoError(t, err)
	require.Equal(t, Snapshot{
		Name: "monday", ID: taken.ID, Volume: "web", VolumeID: v.ID, Size: 10 << 20, Labels: map[string]string{"a": "b"}, Created: b.now,
	}, taken)

	require.NotEmpty(t, taken.ID)
	b.fill(t, "web", "f", "after")

	again, err := b.another("cluster-1").CreateSnapshot(t.Context(), "monday", "web", v.ID, nil)
	require.NoError(t, err)
	require.Equal(t, taken, again, "taking it again is a retry")

	_, err = b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err)

	back, err := b.Create(t.Context(), Spec{Name: "copy", Size: 20 << 20, Source: Source{Snapshot: "monday", ID: taken.ID}})
	require.NoError(t, err)
	require.Equal(t, Source{Snapshot: "monday", ID: taken.ID}, back.Source)
	require.Equal(t, "before", b.content(t, "copy", "data", "f"), "it outlives its volume")
	require.EqualValues(t, 20<<20, b.tools.quota[b.ino(t, "copy")])

	all, err := b.ListSnapshots(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Snapshot{taken}, all)

	require.NoError(t, b.DeleteSnapshot(t.Context(), "monday", taken.ID))
	require.ErrorIs(t, b.DeleteSnapshot(t.Context(), "monday", taken.ID), ErrNotFound)
	require.Equal(t, "before", b.content(t, "copy", "data", "f"), "a copy outlives its snapshot")
}

func TestCloneIsIndependent(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	b.fill(t, "web", "f", "one")

	spec := Spec{Name: "copy", Size: 10 << 20, Source: Source{Volume: "web", ID: v.ID}}
	first, err := b.Create(t.Context(), spec)
	require.NoError(t, err)

	b.fill(t, "web", "f", "two")
	require.Equal(t, "one", b.content(t, "copy", "data", "f"))

	again, err := b.Create(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)

	_, err = b.Create(t.Context(), Spec{Name: "copy", Size: 10 << 20})
	require.ErrorIs(t, err, ErrExists, "an empty volume is another one than a copy")
}

func TestCopiesThatCantBe(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")

	taken, err := b.CreateSnapshot(t.Context(), "monday", "web", v.ID, nil)
	require.NoError(t, err)

	other := b.create(t, "other")

	_, err = b.CreateSnapshot(t.Context(), "monday", "other", other.ID, nil)
	require.ErrorIs(t, err, ErrExists)

	for name, c := range map[string]struct {
		spec Spec
		kind error
	}{
		"too small":           {Spec{Size: 5 << 20, Source: Source{Volume: "web", ID: v.ID}}, ErrTooSmall},
		"snapshot too small":  {Spec{Size: 5 << 20, Source: Source{Snapshot: "monday", ID: taken.ID}}, ErrTooSmall},
		"another of its name": {Spec{Size: 10 << 20, Source: Source{Volume: "web", ID: "id-0"}}, ErrNotFound},
		"no such volume":      {Spec{Size: 10 << 20, Source: Source{Volume: "nosuch", ID: v.ID}}, ErrNotFound},
		"no such snapshot":    {Spec{Size: 10 << 20, Source: Source{Snapshot: "nosuch", ID: v.ID}}, ErrNotFound},
		"escape":              {Spec{Size: 10 << 20, Source: Source{Snapshot: "../web", ID: v.ID}}, ErrInvalid},
		"escape of a volume":  {Spec{Size: 10 << 20, Source: Source{Volume: "../etc", ID: v.ID}}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Name = "copy"
			_, err := b.Create(t.Context(), c.spec)
			require.ErrorIs(t, err, c.kind)
			require.False(t, b.exists("copy"))
			require.False(t, b.exists(".creating-copy"))
		})
	}
}

// Whatever fails, there is no snapshot that isn't whole, and taking it again
// works.
func TestSnapshotSurvivesInterruption(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	b.fill(t, "web", "f", "x")

	b.tools.fail = func(string) error { return errors.New("power cut") }
	_, err := b.CreateSnapshot(t.Context(), "monday", "web", v.ID, nil)
	require.ErrorContains(t, err, "power cut")

	b.tools.fail = func(string) error { return nil }
	require.NoError(t, os.MkdirAll(b.path(".snapshots", ".creating-monday", "data", "half"), 0o755))
	require.NoError(t, os.MkdirAll(b.path(".snapshots", ".creating-other", "data"), 0o755))

	all, err := b.ListSnapshots(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)

	_, err = b.CreateSnapshot(t.Context(), "monday", "web", v.ID, nil)
	require.NoError(t, err)
	require.False(t, b.exists(".snapshots", "monday", "data", "half"))

	_, err = b.Purge(t.Context())
	require.NoError(t, err)
	require.False(t, b.exists(".snapshots", ".creating-other"))
	require.True(t, b.exists(".snapshots", "monday", "data", "f"))
}

func TestSnapshotNamesDontEscape(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")

	for _, name := range []string{"", ".", "..", "../web", "/etc", "a/b", ".creating-x", "a\x00b"} {
		_, err := b.CreateSnapshot(t.Context(), name, "web", v.ID, nil)
		require.ErrorIs(t, err, ErrInvalid, name)
		require.ErrorIs(t, b.DeleteSnapshot(t.Context(), name, v.ID), ErrInvalid, name)
	}

	require.True(t, b.exists("web", "data"))
}

func TestLinkInPlaceOfASnapshot(t *testing.T) {
	target, untouched := outside(t)
	b := newBench(t)
	v := b.create(t, "web")

	_, err := b.CreateSnapshot(t.Context(), "real", "web", v.ID, nil)
	require.NoError(t, err)

	for name, to := range map[string]string{"absolute": filepath.Join(target, "volumes", "web"), "within": "real", "above": "../web"} {
		require.NoError(t, os.Symlink(to, b.path(".snapshots", name)))

		_, err := b.CreateSnapshot(t.Context(), name, "web", v.ID, nil)
		require.ErrorIs(t, err, ErrPrecondition, name)
		require.ErrorIs(t, b.DeleteSnapshot(t.Context(), name, "id-1"), ErrPrecondition, name)

		_, err = b.Create(t.Context(), Spec{Name: "copy", Size: 10 << 20, Source: Source{Snapshot: name, ID: "id-1"}})
		require.ErrorIs(t, err, ErrPrecondition, name)
	}

	all, err := b.ListSnapshots(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	untouched()
}
