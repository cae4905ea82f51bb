package command

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

func TestUpgradeWantsToKnowWhich(t *testing.T) {
	code, _, errs := run(t, t.Context(), "", "node", "upgrade", "antler.img")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "say which node: -n NODE")

	code, _, errs = run(t, t.Context(), "", "upgrade", "antler.img", "-n", "n1")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "antlerctl node upgrade IMAGE -n NODE")

	code, _, errs = run(t, t.Context(), "", "node", "upgrade", filepath.Join(t.TempDir(), "gone.img"), "-n", "n1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "open the image")

	// Neither is a node asked, nor blamed.
	notOne := filepath.Join(t.TempDir(), "photo.jpg")
	require.NoError(t, os.WriteFile(notOne, []byte("photo"), 0o600))

	code, _, errs = run(t, t.Context(), "", "upgrade", notOne)
	require.Equal(t, exitFailed, code)
	require.Regexp(t, `^antlerctl: .*photo\.jpg is not an image of Antler, or not a whole one: .*: name the image to upgrade to, antler-VERSION-arm64\.img or \.img\.xz; nothing was done\n$`, errs)

	// It may go away while the nodes are taken one after the other.
	require.NotContains(t, (&app{}).upgradeNode(t.Context(), notOne).Error(), "nothing was done")
}

func TestTheServingNodeIsUpgradedLast(t *testing.T) {
	require.Equal(t, []string{"n2", "n3", "n1"}, servingLast(&antlerv1.ClusterStatus{Nodes: []*antlerv1.NodeStatus{
		{Name: "n1", Serving: true}, {Name: "n2"}, {Name: "n3"},
	}}))
}

func TestHasReason(t *testing.T) {
	answer, err := status.New(codes.FailedPrecondition, "not now").WithDetails(&errdetails.ErrorInfo{Reason: "NOT_HEALTHY", Domain: "antler"})
	require.NoError(t, err)
	require.True(t, hasReason(answer.Err(), "NOT_HEALTHY"))
	require.False(t, hasReason(answer.Err(), "OTHER"))
	require.False(t, hasReason(nil, "NOT_HEALTHY"))
}
