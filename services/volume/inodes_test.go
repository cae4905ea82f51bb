package volume

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInodeLimit(t *testing.T) {
	b := newBench(t)
	spec := Spec{Name: "web", Size: 10 << 20, InodeLimit: 2}

	v, err := b.Create(t.Context(), spec)
	require.NoError(t, err)
	require.EqualValues(t, 2, v.InodeLimit)
	require.EqualValues(t, 2, b.tools.inodes[b.ino(t, "web")])

	b.fill(t, "web", "f", "x")

	v, err = b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.EqualValues(t, 1, v.UsedInodes)

	quota, err := b.Quota(t.Context(), "web", v.ID)
	require.NoError(t, err)
	require.EqualValues(t, 1, quota.UsedInodes)
	require.EqualValues(t, 2, quota.InodeLimit)

	// Another size keeps it, and so does what says nothing about it.
	_, err = b.Expand(t.Context(), "web", 20<<20)
	require.NoError(t, err)

	trash := 3 * time.Hour
	v, err = b.Modify(t.Context(), "web", v.ID, Modification{TrashTime: &trash})
	require.NoError(t, err)
	require.EqualValues(t, 2, v.InodeLimit)
	require.EqualValues(t, 2, b.tools.inodes[b.ino(t, "web")])

	spec.Size, spec.TrashTime = 20<<20, &trash
	_, err = b.Create(t.Context(), spec)
	require.NoError(t, err, "it is the one that was created")

	v, err = b.Modify(t.Context(), "web", v.ID, Modification{InodeLimit: 50})
	require.NoError(t, err)
	require.EqualValues(t, 50, v.InodeLimit)
	require.EqualValues(t, 50, b.tools.inodes[b.ino(t, "web")])

	_, err = b.Create(t.Context(), spec)
	require.NoError(t, err, "and it still is")

	spec.InodeLimit = 3
	_, err = b.Create(t.Context(), spec)
	require.ErrorIs(t, err, ErrExists)
	require.ErrorContains(t, err, "its inode limit is 50, not 3")
}

func TestInodeLimitThatCannotBe(t *testing.T) {
	b := newBench(t)

	_, err := b.Create(t.Context(), Spec{Name: "web", Size: 10 << 20, InodeLimit: MaxInodes + 1})
	require.ErrorIs(t, err, ErrInvalid)

	v := b.create(t, "web")
	b.fill(t, "web", "f", "x")
	b.fill(t, "web", "g", "x")

	_, err = b.Modify(t.Context(), "web", v.ID, Modification{InodeLimit: 1, Copies: 3})
	require.ErrorIs(t, err, ErrPrecondition)
	require.ErrorContains(t, err, "it has 2 files and directories")

	now, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Zero(t, now.InodeLimit)
	require.Equal(t, v.Copies, now.Copies, "nothing of it was done")
	require.Zero(t, b.tools.inodes[b.ino(t, "web")])

	_, err = b.Modify(t.Context(), "web", v.ID, Modification{InodeLimit: 2})
	require.NoError(t, err, "exactly what is used is enough")
}

// A copy has its source's limit, unless it asks for another one.
func TestInodeLimitOfACopy(t *testing.T) {
	b := newBench(t)

	v, err := b.Create(t.Context(), Spec{Name: "web", Size: 10 << 20, InodeLimit: 7})
	require.NoError(t, err)
	b.fill(t, "web", "f", "x")
	b.fill(t, "web", "g", "x")

	taken, err := b.CreateSnapshot(t.Context(), "monday", "web", v.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, 7, taken.InodeLimit)

	for from, source := range map[string]Source{"volume": {Volume: "web", ID: v.ID}, "snapshot": {Snapshot: "monday", ID: taken.ID}} {
		spec := Spec{Name: "as-" + from, Size: 10 << 20, Source: source}

		copied, err := b.Create(t.Context(), spec)
		require.NoError(t, err)
		require.EqualValues(t, 7, copied.InodeLimit)
		require.EqualValues(t, 7, b.tools.inodes[b.ino(t, spec.Name)])

		_, err = b.Create(t.Context(), spec)
		require.NoError(t, err, "creating it again is a retry")

		spec.Name, spec.InodeLimit = "other-"+from, 9
		copied, err = b.Create(t.Context(), spec)
		require.NoError(t, err)
		require.EqualValues(t, 9, copied.InodeLimit)

		spec.Name, spec.InodeLimit = "small-"+from, 1
		_, err = b.Create(t.Context(), spec)
		require.ErrorIs(t, err, ErrTooSmall)
		require.False(t, b.exists(spec.Name))
	}
}
