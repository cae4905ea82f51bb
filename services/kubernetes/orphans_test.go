package kubernetes

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestUsesWithoutAMountEnd(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	require.NoError(t, stage(t, b.n1, handle, rwo))

	orphans := &Orphans{Node: b.n1, Volumes: b.controller, Logger: zap.NewNop()}
	pass := func() {
		t.Helper()
		require.NoError(t, orphans.Pass(t.Context()))
	}
	users := func() []string {
		v, err := b.store.Get(t.Context(), "pvc-1")
		require.NoError(t, err)

		return v.Users()
	}

	for range 3 {
		pass()
	}

	require.Equal(t, []string{"n1"}, users(), "it is mounted")

	// The power goes; a call that works on the volume may be about to mount it.
	b.mounter.mounts = nil

	done, err := b.n1.busy.begin(handle)
	require.NoError(t, err)

	for range 3 {
		pass()
	}

	done()
	require.Equal(t, []string{"n1"}, users())

	pass()
	require.Equal(t, []string{"n1"}, users(), "once may be by chance")

	// Neither the mounts nor the serving node can be asked: nothing is concluded.
	b.serving = errors.New("nobody serves")
	require.Error(t, orphans.Pass(t.Context()))
	b.serving = nil

	pass()
	require.Empty(t, users())
	require.NoError(t, stage(t, b.n2, handle, rwo))

	for range 3 {
		pass()
	}

	require.Equal(t, []string{"n2"}, users(), "another node's use is its own business")
}
