package containers

import (
	"context"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

func start(t *testing.T, c *Controller) (context.Context, state.State) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	st := state.WrapCore(namespaced.NewState(inmem.Build))

	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, rt.RegisterController(c))

	done := make(chan error, 1)

	go func() { done <- rt.Run(ctx) }()

	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})

	return ctx, st
}

func TestControllerFollowsSpecs(t *testing.T) {
	fake := newFakeRuntime()
	ctx, st := start(t, &Controller{Runtime: fake, LogDir: "/logs"})

	spec := NewContainerSpec("chunkserver")
	*spec.TypedSpec() = *daemon("a")
	require.NoError(t, st.Create(ctx, spec))

	rtestutils.AssertResource(ctx, t, st, "chunkserver", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Running)
		assert.Equal("/logs/chunkserver.log", s.TypedSpec().LogPath)
	})

	// The end of the process shows without any event from outside.
	fake.end("chunkserver", 5)
	rtestutils.AssertResource(ctx, t, st, "chunkserver", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Running)
		assert.Equal(1, s.TypedSpec().Restarts)
		assert.Equal(5, s.TypedSpec().ExitCode)
	})

	require.NoError(t, st.Destroy(ctx, spec.Metadata()))
	rtestutils.AssertNoResource[*ContainerStatus](ctx, t, st, "chunkserver")
	assert.Empty(t, fake.tasks)

	// A spec that comes back is served again.
	again := NewContainerSpec("chunkserver")
	*again.TypedSpec() = *daemon("a")
	require.NoError(t, st.Create(ctx, again))
	rtestutils.AssertResource(ctx, t, st, "chunkserver", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Running)
	})
	assert.False(t, fake.twice)
}

func TestControllerWaitsForTheOwnersOfWhatItFinds(t *testing.T) {
	fake := newFakeRuntime()
	kept := fake.run("chunkserver", *daemon("a")).PID
	fake.run("old", *daemon("z"))

	ctx, st := start(t, &Controller{Runtime: fake, Grace: 500 * time.Millisecond})

	rtestutils.AssertResource(ctx, t, st, "old", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Adopted)
	})

	spec := NewContainerSpec("chunkserver")
	*spec.TypedSpec() = *daemon("a")
	require.NoError(t, st.Create(ctx, spec))

	// Nobody asks for the other one: it goes when its time is over.
	rtestutils.AssertNoResource[*ContainerStatus](ctx, t, st, "old")
	rtestutils.AssertResource(ctx, t, st, "chunkserver", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.Equal(kept, s.TypedSpec().PID)
		assert.True(s.TypedSpec().Adopted)
	})
}

// What was there must have a status before anybody takes it for absent.
func TestTheInventoryIsCompleteOnceAllHaveAStatus(t *testing.T) {
	fake := newFakeRuntime()
	fake.run("mfsmaster", *daemon("a"))
	fake.setDown(true)

	ctx, st := start(t, &Controller{Runtime: fake})

	rtestutils.AssertResource(ctx, t, st, InventoryID, func(i *Inventory, assert *assert.Assertions) {
		assert.False(i.TypedSpec().Complete)
	})

	fake.setDown(false)
	rtestutils.AssertResource(ctx, t, st, InventoryID, func(i *Inventory, assert *assert.Assertions) {
		assert.True(i.TypedSpec().Complete)
	})

	_, err := st.Get(ctx, NewContainerStatus("mfsmaster").Metadata())
	require.NoError(t, err)
	rtestutils.AssertResource(ctx, t, st, "mfsmaster", func(s *ContainerStatus, assert *assert.Assertions) {
		assert.True(s.TypedSpec().Adopted)
		assert.False(s.TypedSpec().Unknown)
	})
}
