package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestOnMooseFS needs a MooseFS of its own with nothing in it, mounted with the
// admin flag, and at least one chunkserver:
//
//	ANTLER_TEST_MOOSEFS=/mnt/mfs ANTLER_TEST_MOOSEFS_TOOLS=/usr/bin go test -run OnMooseFS -v ./services/volume
func TestOnMooseFS(t *testing.T) {
	mount := os.Getenv("ANTLER_TEST_MOOSEFS")
	if mount == "" {
		t.Skip("ANTLER_TEST_MOOSEFS is not set to an empty MooseFS")
	}

	now := time.Now()
	s := New(Options{
		Mount: mount, Cluster: "test", Tools: MooseFSTools{Dir: os.Getenv("ANTLER_TEST_MOOSEFS_TOOLS")},
		Defaults: Defaults{Copies: 2, TrashTime: time.Hour},
		Verify:   VerifyMooseFS, Now: func() time.Time { return now }, NewID: uuid.NewString,
	})
	ctx := t.Context()

	measure := func(what string, f func(context.Context) error) {
		t.Helper()

		start := time.Now()
		require.NoError(t, f(ctx), what)
		t.Logf("%-10s %s", what, time.Since(start).Round(100*time.Microsecond))
	}

	measure("prepare", s.Prepare)

	spec := Spec{Name: "web", Size: 8 << 20, Copies: 4, Labels: map[string]string{"a": "b"}}

	var v Volume

	measure("create", func(ctx context.Context) (err error) { v, err = s.Create(ctx, spec); return err })
	measure("again", func(ctx context.Context) error {
		again, err := s.Create(ctx, spec)
		require.Equal(t, v, again)

		return err
	})

	require.Equal(t, "antler-4", v.StorageClass)

	_, err := s.Create(ctx, Spec{Name: "other", Size: 8 << 20, StorageClass: "nosuch"})
	require.ErrorIs(t, err, ErrInvalid)

	// The quota holds.
	data := filepath.Join(mount, v.Path)
	fill := func(name string, size int) error {
		f, err := os.Create(filepath.Join(data, name))
		if err != nil {
			return err
		}

		_, err = f.Write(make([]byte, size))

		return errors.Join(err, f.Sync(), f.Close())
	}

	require.NoError(t, fill("a", 3<<20))
	require.ErrorIs(t, fill("b", 6<<20), unix.EDQUOT)
	require.NoError(t, os.Remove(filepath.Join(data, "b")))

	measure("expand", func(ctx context.Context) (err error) { v, err = s.Expand(ctx, "web", 16<<20); return err })
	require.EqualValues(t, 3<<20, v.Used)
	require.NoError(t, fill("b", 6<<20))

	measure("get", func(ctx context.Context) (err error) { v, err = s.Get(ctx, "web"); return err })
	require.EqualValues(t, 9<<20, v.Used)

	for i := range 70 {
		_, err := s.Create(ctx, Spec{Name: fmt.Sprintf("v%d", i), Size: 8 << 20})
		require.NoError(t, err)
	}

	measure("list 71", func(ctx context.Context) error {
		list, err := s.List(ctx)
		require.Len(t, list, 71)

		return err
	})

	// Away, back, and away for good.
	require.NoError(t, os.MkdirAll(data+"/deep/er", 0o755))

	_, err = s.Delete(ctx, "web", time.Hour)
	require.NoError(t, err)
	_, err = s.Undelete(ctx, "web", "")
	require.NoError(t, err)
	require.FileExists(t, data+"/a")

	require.NoError(t, os.Symlink("/etc", data+"/link"))

	measure("delete", func(ctx context.Context) error { _, err := s.Delete(ctx, "web", time.Hour); return err })

	now = now.Add(2 * time.Hour)

	for range expiryPasses {
		measure("purge", func(ctx context.Context) error { _, err := s.Purge(ctx); return err })
	}

	left, err := os.ReadDir(filepath.Join(mount, volumesDir, purgeDir))
	require.NoError(t, err)
	require.Empty(t, left)

	_, err = s.Undelete(ctx, "web", "")
	require.ErrorIs(t, err, ErrNotFound)
}
