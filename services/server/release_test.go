package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/volume"
)

// inUse has n1 serve a volume that n2 uses, and a node that was one of this cluster.
// It returns the volumes as an administrator sees them.
func inUse(t *testing.T) (*testCluster, antlerv1.VolumeServiceClient) {
	t.Helper()

	c := newCluster(t)
	c.serve("n1", 5)
	c.node("n1").volumes.uses = map[string]volume.Use{"n2": {Alone: true, Since: testTime()}, "n9": {ReadOnly: true}}

	return c, antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Admin))
}

// away has the serving node know that n2 was last heard of at a time.
func (c *testCluster) away(at time.Time) {
	report := authority.NewNodeReport("n2")
	report.TypedSpec().LastSeen = at
	c.put(c.node("n1"), report)
}

func TestReleaseIsConfirmed(t *testing.T) {
	c, volumes := inUse(t)
	c.away(testTime())

	request := &antlerv1.VolumeServiceReleaseRequest{Name: "shared", Node: "n2"}

	shown, err := volumes.Release(t.Context(), request)
	require.NoError(t, err)
	require.False(t, shown.GetDone())
	require.Equal(t, testTime(), shown.GetLastHeard().AsTime())
	require.Equal(t, testTime(), shown.GetUse().GetSince().AsTime())
	require.True(t, shown.GetUse().GetAlone())
	require.Equal(t, "n9", shown.GetOthers()[0].GetNode())
	require.True(t, shown.GetOthers()[0].GetReadOnly())
	require.Zero(t, c.node("n1").volumes.ended, "nothing is changed by a look")

	request.Confirm = true
	released, err := volumes.Release(t.Context(), request)
	require.NoError(t, err)
	require.True(t, released.GetDone())
	require.Equal(t, "n2", released.GetUse().GetNode())
	require.NotContains(t, c.node("n1").volumes.uses, "n2")
	require.Contains(t, c.node("n1").volumes.uses, "n9")

	told, found := c.node("n1").events.Last("volume.released", 5)
	require.True(t, found)
	require.Equal(t, "volume shared is free for other nodes: admin says that n2, which used it, is without power or was reset", told.Message)

	again, err := volumes.Release(t.Context(), request)
	require.NoError(t, err, "idempotent")
	require.True(t, again.GetDone())
	require.Nil(t, again.GetUse())
	require.Equal(t, 1, c.node("n1").volumes.ended)
	require.EqualValues(t, 1, c.node("n1").events.Total(), "only what was done is told")
}

// Whoever is heard of may write.
func TestNothingIsReleasedFromANodeThatIsHeardOf(t *testing.T) {
	c, volumes := inUse(t)
	request := &antlerv1.VolumeServiceReleaseRequest{Name: "shared", Node: "n2"}

	for _, request.Confirm = range []bool{false, true} {
		_, err := volumes.Release(t.Context(), request)
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
		require.Equal(t, "NODE_ALIVE", reasonOf(t, err))
		require.ErrorContains(t, err, "release shared from n2: that node was heard of a moment ago")
		require.Contains(t, hintOf(t, err), "--force")
	}

	require.Zero(t, c.node("n1").volumes.ended)

	request.Force = true
	released, err := volumes.Release(t.Context(), request)
	require.NoError(t, err)
	require.True(t, released.GetDone())
	require.Nil(t, released.GetLastHeard())
	require.Equal(t, 1, c.node("n1").volumes.ended)
}

func TestReleaseOfWhatIsWrittenWrong(t *testing.T) {
	c, volumes := inUse(t)

	for want, request := range map[string]*antlerv1.VolumeServiceReleaseRequest{
		"node: is missing": {Name: "shared"},
		`node: "n4" is not a node of this cluster, and doesn't use shared (its users: n2, n9)`: {Name: "shared", Node: "n4"},
		"look at volume photos: there is none":                                                 {Name: "photos", Node: "n2"},
	} {
		request.Confirm, request.Force = true, true
		_, err := volumes.Release(t.Context(), request)
		require.ErrorContains(t, err, want)
	}

	require.Zero(t, c.node("n1").volumes.ended)

	unused, err := volumes.Release(t.Context(), &antlerv1.VolumeServiceReleaseRequest{Name: "shared", Node: "n3"})
	require.NoError(t, err, "a node that is alive and doesn't use it")
	require.True(t, unused.GetDone())

	gone, err := volumes.Release(t.Context(), &antlerv1.VolumeServiceReleaseRequest{Name: "shared", Node: "n9", Confirm: true})
	require.NoError(t, err, "a node that is no more of this cluster")
	require.True(t, gone.GetDone())
	require.NotContains(t, c.node("n1").volumes.uses, "n9")

	_, err = antlerv1.NewVolumeServiceClient(c.dial("n3", c.files.Reader)).Release(t.Context(), &antlerv1.VolumeServiceReleaseRequest{Name: "shared", Node: "n2"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestUsesOfAVolumeAreShown(t *testing.T) {
	_, volumes := inUse(t)

	reply, err := volumes.Get(t.Context(), &antlerv1.VolumeServiceGetRequest{Name: "shared"})
	require.NoError(t, err)
	require.Len(t, reply.GetVolume().GetUses(), 2)
	require.Equal(t, "n2", reply.GetVolume().GetUses()[0].GetNode())
}
