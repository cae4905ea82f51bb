package volume

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeleteAndUndelete(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	require.NoError(t, os.WriteFile(b.path("web", "data", "file"), []byte("precious"), 0o600))

	gone, err := b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err)
	require.Equal(t, "web@20251120T120000Z~20251120T130000Z", gone.ID)
	require.Equal(t, v.ID, gone.Volume.ID)
	require.Equal(t, b.now.Add(time.Hour), gone.Expires)

	_, err = b.Get(t.Context(), "web")
	require.ErrorIs(t, err, ErrNotFound)

	again, err := b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err, "idempotent")
	require.Equal(t, gone, again)

	list, err := b.ListArchived(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Archived{gone}, list)

	back, err := b.Undelete(t.Context(), "web", "")
	require.NoError(t, err)

	v.UsedInodes = 1
	require.Equal(t, v, back)

	content, err := os.ReadFile(b.path("web", "data", "file"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))

	back, err = b.Undelete(t.Context(), "web", "")
	require.NoError(t, err, "it is back already")
	require.Equal(t, v, back)
	require.Equal(t, []string{"volume.created", "volume.deleted", "volume.undeleted"}, b.events, "once each")
}

func TestDeleteOfWhatNeverWas(t *testing.T) {
	b := newBench(t)

	_, err := b.Delete(t.Context(), "web", 0)
	require.ErrorIs(t, err, ErrNotFound)

	_, err = b.Undelete(t.Context(), "web", "")
	require.ErrorIs(t, err, ErrNotFound)

	b.create(t, "web")

	for _, keep := range []time.Duration{-time.Hour, time.Millisecond, MaxKeep + 1} {
		_, err = b.Delete(t.Context(), "web", keep)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

func TestUndeleteChooses(t *testing.T) {
	b := newBench(t)

	var gone []Archived

	for range 3 {
		b.create(t, "web")
		// All in the same second.
		a, err := b.Delete(t.Context(), "web", time.Hour)
		require.NoError(t, err)

		gone = append(gone, a)
	}

	list, err := b.ListArchived(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Archived{gone[2], gone[1], gone[0]}, list, "the latest first")

	v, err := b.Undelete(t.Context(), "web", gone[0].ID)
	require.NoError(t, err)
	require.Equal(t, gone[0].Volume.ID, v.ID)

	_, err = b.Undelete(t.Context(), "web", "")
	require.ErrorIs(t, err, ErrExists, "another one has the name")

	_, err = b.Undelete(t.Context(), "web", gone[0].ID)
	require.ErrorIs(t, err, ErrNotFound)

	_, err = b.Undelete(t.Context(), "shop", gone[1].ID)
	require.ErrorIs(t, err, ErrInvalid)

	for _, id := range []string{"../web", "web", "web@now~then", gone[1].ID + "/data"} {
		_, err = b.Undelete(t.Context(), "web", id)
		require.ErrorIs(t, err, ErrInvalid, id)
	}
}

// expire makes so many passes of Purge that an expired volume goes.
func expire(t *testing.T, b *bench) (volumes []string) {
	t.Helper()

	for range expiryPasses {
		require.Empty(t, volumes, "only the last pass may remove anything")

		p, err := b.Purge(t.Context())
		require.NoError(t, err)
		require.False(t, p.More)

		volumes = append(volumes, p.Volumes...)
	}

	return volumes
}

func TestPurgeRemovesWhatIsOver(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")
	b.create(t, "shop")

	deep := b.path("web", "data", "a", "b", "c")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	require.NoError(t, os.WriteFile(deep+"/file", nil, 0o600))

	short, err := b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err)
	long, err := b.Delete(t.Context(), "shop", 3*time.Hour)
	require.NoError(t, err)

	require.Empty(t, expire(t, b), "before its time")

	b.now = b.now.Add(time.Hour)
	require.Equal(t, []string{short.ID}, expire(t, b))

	list, err := b.ListArchived(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Archived{long}, list)

	left, err := os.ReadDir(b.path(".purge"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPurgeDoesNotTrustAClockThatJumps(t *testing.T) {
	b := newBench(t)
	b.create(t, "web")

	_, err := b.Delete(t.Context(), "web", time.Hour)
	require.NoError(t, err)

	// The clock is wrong for a while, and right again.
	b.now = b.now.Add(24 * time.Hour)

	for range expiryPasses - 1 {
		_, err := b.Purge(t.Context())
		require.NoError(t, err)
	}

	b.now = b.now.Add(-24 * time.Hour)
	_, err = b.Purge(t.Context())
	require.NoError(t, err)

	// It is wrong again: it counts from the beginning.
	b.now = b.now.Add(24 * time.Hour)
	_, err = b.Purge(t.Context())
	require.NoError(t, err)

	_, err = b.Undelete(t.Context(), "web", "")
	require.NoError(t, err)
}

func TestPurgeWorksInPieces(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.Prepare(t.Context()))

	dir := b.path(".purge", "big")
	for _, sub := range []string{"a", "b", "c/d/e/f"} {
		require.NoError(t, os.MkdirAll(dir+"/"+sub, 0o755))
	}

	passes, removed := 0, 0

	for more := true; more; passes++ {
		require.Less(t, passes, 100)

		w := wrecker{purge: openDir(t, b.path(".purge")), newID: b.opts.NewID, budget: 3}
		require.NoError(t, w.pass(t.Context()))
		more, removed = w.more, removed+w.removed
	}

	require.Greater(t, passes, 1)
	require.Equal(t, 7, removed, "big, a, b, c, d, e, f")

	left, err := os.ReadDir(b.path(".purge"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func openDir(t *testing.T, path string) dir {
	t.Helper()

	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })

	return dir{f}
}
