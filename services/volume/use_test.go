package volume

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUseByOneNodeAlone(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	alone := Use{Alone: true}

	use := func(node string, u Use) error {
		_, err := b.Use(t.Context(), "web", v.ID, node, u)

		return err
	}

	require.NoError(t, use("n1", alone))
	require.NoError(t, use("n1", alone), "idempotent")
	require.ErrorIs(t, use("n2", alone), ErrInUse)
	require.ErrorIs(t, use("n2", Use{}), ErrInUse)
	require.ErrorContains(t, use("n2", alone), "n1 uses it since 2025-11-20T12:00:00Z")
	require.ErrorIs(t, use("n1", Use{}), ErrExists, "in another way")

	got, err := b.another("cluster-1").Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, map[string]Use{"n1": {Alone: true, Since: b.now}}, got.Uses, "the next serving node knows")

	_, err = b.DeleteUnused(t.Context(), "web", v.ID, time.Hour)
	require.ErrorIs(t, err, ErrInUse)

	_, err = b.EndUse(t.Context(), "web", v.ID, "n1")
	require.NoError(t, err)
	_, err = b.EndUse(t.Context(), "web", v.ID, "n1")
	require.NoError(t, err, "idempotent")
	require.NoError(t, use("n2", alone))

	_, err = b.EndUse(t.Context(), "web", v.ID, "")
	require.NoError(t, err)

	_, err = b.DeleteUnused(t.Context(), "web", "id-0", time.Hour)
	require.ErrorIs(t, err, ErrNotFound, "another volume of that name")
	_, err = b.DeleteUnused(t.Context(), "web", v.ID, time.Hour)
	require.NoError(t, err)
}

func TestUseByManyNodes(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")

	for _, node := range []string{"n1", "n2"} {
		_, err := b.Use(t.Context(), "web", v.ID, node, Use{})
		require.NoError(t, err)
	}

	_, err := b.Use(t.Context(), "web", v.ID, "n3", Use{Alone: true})
	require.ErrorIs(t, err, ErrInUse)

	got, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, []string{"n1", "n2"}, got.Users())

	_, err = b.Use(t.Context(), "web", "id-0", "n3", Use{})
	require.ErrorIs(t, err, ErrNotFound)
}

// Of many nodes that want a volume for themselves at once, one gets it.
func TestOneOfManyWins(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")

	var (
		group sync.WaitGroup
		mu    sync.Mutex
		won   []string
	)

	for i := range 8 {
		group.Go(func() {
			node := fmt.Sprintf("n%d", i)

			_, err := b.Use(t.Context(), "web", v.ID, node, Use{Alone: true})
			if err == nil {
				mu.Lock()
				won = append(won, node)
				mu.Unlock()

				return
			}

			if !errors.Is(err, ErrInUse) {
				t.Errorf("%s: %v", node, err)
			}
		})
	}

	group.Wait()
	require.Len(t, won, 1)
}

func TestModifyKeepsWhatIsNotAskedFor(t *testing.T) {
	b := newBench(t)

	v, err := b.Create(t.Context(), Spec{Name: "web", Size: 10 << 20, Labels: map[string]string{"a": "1"}})
	require.NoError(t, err)
	_, err = b.Use(t.Context(), "web", v.ID, "n1", Use{Alone: true})
	require.NoError(t, err)

	trash := 3 * time.Hour
	_, err = b.Modify(t.Context(), "web", v.ID, Modification{TrashTime: &trash, Labels: map[string]string{"b": "2"}})
	require.NoError(t, err)

	_, err = b.Modify(t.Context(), "web", v.ID, Modification{Copies: 3})
	require.NoError(t, err)

	got, err := b.Get(t.Context(), "web")
	require.NoError(t, err)

	want := v
	want.Copies, want.StorageClass, want.TrashTime = 3, "3CP", trash
	want.Labels = map[string]string{"a": "1", "b": "2"}
	want.Uses = map[string]Use{"n1": {Alone: true, Since: b.now}}
	require.Equal(t, want, got)

	ino := b.ino(t, "web")
	require.Equal(t, "3CP", b.tools.class[ino])
	require.Equal(t, trash, b.tools.trash[ino])

	_, err = b.Modify(t.Context(), "web", v.ID, Modification{Copies: 77})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestOpenDataOnlyOfTheVolumeItself(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	b.fill(t, "web", "f", "x")

	data, err := b.OpenData(t.Context(), "web", v.ID)
	require.NoError(t, err)

	names, err := data.Readdirnames(-1)
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names)
	require.NoError(t, data.Close())

	_, err = b.OpenData(t.Context(), "web", "id-0")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = b.OpenData(t.Context(), "../web", v.ID)
	require.ErrorIs(t, err, ErrInvalid)

	b.verify = failf(ErrUnavailable, "MooseFS is not mounted")
	_, err = b.OpenData(t.Context(), "web", v.ID)
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestQuotaIsTheMasters(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")
	ino := b.ino(t, "web")

	// As a mount sees it that still has the mark from before an expansion.
	b.tools.quota[ino], b.tools.used[ino] = 20<<20, 12<<20

	got, err := b.Quota(t.Context(), "web", v.ID)
	require.NoError(t, err)
	require.Equal(t, Quota{Used: 12 << 20, Limit: 20 << 20}, got)

	_, err = b.Quota(t.Context(), "web", "id-0")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = b.Quota(t.Context(), "../web", v.ID)
	require.ErrorIs(t, err, ErrInvalid)
}

// A node whose lease has ended changes nothing, whatever was under way.
func TestFencedNodeChangesNothing(t *testing.T) {
	b := newBench(t)
	v := b.create(t, "web")

	asked := 0
	b.opts.MayChange = func() error {
		asked++
		if asked > 1 {
			return io.ErrClosedPipe
		}

		return nil
	}

	_, err := b.Use(t.Context(), "web", v.ID, "n1", Use{Alone: true})
	require.ErrorIs(t, err, ErrUnavailable, "the lease ended in between")

	for op, err := range everything(t, b, "web") {
		if op != "Get" && op != "OpenData" && op != "Quota" {
			require.ErrorIs(t, err, ErrUnavailable, op)
		}
	}

	require.ErrorIs(t, b.DeleteSnapshot(t.Context(), "monday", v.ID), ErrUnavailable)
	require.False(t, b.exists(".snapshots"), "not even a directory is made")

	b.opts.MayChange = func() error { return nil }
	got, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, v, got)
}
