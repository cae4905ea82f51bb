package server

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
)

func TestReplaceNode(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	client := antlerv1.NewClusterServiceClient(c.dial("n3", c.files.Admin))
	asked := c.node("n3").authority

	plan, err := client.ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n2"})
	require.NoError(t, err)
	require.False(t, plan.Done)
	require.Equal(t, "OLD", plan.OldStore)
	require.Contains(t, plan.GivenUp[0], "store OLD")
	require.Equal(t, "UpToDate", plan.Replica.Disk)
	require.Equal(t, []string{"look at n2"}, asked.asked)

	_, err = client.ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n2", Forget: "OLD"})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "nobody said why")

	_, err = client.ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n9"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Len(t, asked.asked, 1)

	done, err := client.ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n2", Forget: "OLD", Reason: "burnt"})
	require.NoError(t, err)
	require.True(t, done.Done)
	require.Equal(t, "replace n2, forget OLD by admin because burnt", asked.asked[2])
}

func TestReplaceNodeIsRefused(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.node("n1").authority.refuse = &authority.Rejection{Code: authority.ErrCannotReplace, Detail: "replace n2: n3 must be there"}

	_, err := antlerv1.NewClusterServiceClient(c.dial("n1", c.files.Admin)).ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n2"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, "CANNOT_REPLACE", reasonOf(t, err))

	_, err = antlerv1.NewClusterServiceClient(c.dial("n1", c.files.Reader)).ReplaceNode(t.Context(), &antlerv1.ReplaceNodeRequest{Node: "n2"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}
