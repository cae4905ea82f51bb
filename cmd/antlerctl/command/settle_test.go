package command

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// healing is a cluster with a problem of old, in which one more goes away at the
// third look.
type healing struct {
	antlerv1.ClusterServiceClient

	looks int
}

func (h *healing) GetStatus(context.Context, *antlerv1.GetStatusRequest, ...grpc.CallOption) (*antlerv1.GetStatusResponse, error) {
	h.looks++

	out := &antlerv1.ClusterStatus{Problems: []*antlerv1.Problem{{Summary: "n9 was not heard of"}}}
	if h.looks > 1 && h.looks < 3 {
		out.Problems = append(out.Problems, &antlerv1.Problem{Summary: "n2 took over, and 1 of 3 chunkservers are back"})
	}

	return &antlerv1.GetStatusResponse{Cluster: out}, nil
}

// syncing has a problem of old whose summary is another one at each look.
type syncing struct {
	antlerv1.ClusterServiceClient

	looks int
}

func (s *syncing) GetStatus(context.Context, *antlerv1.GetStatusRequest, ...grpc.CallOption) (*antlerv1.GetStatusResponse, error) {
	s.looks++

	return &antlerv1.GetStatusResponse{Cluster: &antlerv1.ClusterStatus{Problems: []*antlerv1.Problem{
		{Reason: "SERVICE_DOWN", Node: "n2", Subject: "mfsmetalogger", Summary: "it does not run"},
		{Reason: "REPLICA_SYNCING", Node: "n2", Summary: fmt.Sprintf("%d %% are done", s.looks)},
	}}}, nil
}

// silent is a node that went away.
type silent struct {
	antlerv1.ClusterServiceClient
}

func (silent) GetStatus(context.Context, *antlerv1.GetStatusRequest, ...grpc.CallOption) (*antlerv1.GetStatusResponse, error) {
	return nil, status.Error(codes.Unavailable, "gone")
}

func TestAMoveIsOverWhenNothingNewIsMissing(t *testing.T) {
	var out, errs bytes.Buffer

	now := time.Unix(1000, 0)
	s := &settling{
		app:    &app{Environment: Environment{Out: &out, Err: &errs, Now: func() time.Time { return now }}, output: formatTable},
		client: &healing{}, began: now.Add(-4 * time.Second),
	}

	s.rememberProblems(t.Context())
	require.NoError(t, s.wait(t.Context()))
	require.Equal(t, "  4.00 s  still coming: n2 took over, and 1 of 3 chunkservers are back\n", errs.String())
	require.Equal(t, "the cluster is as it was before (`antlerctl status` shows what is wrong), after 4.0 s\n", out.String())
}

func TestAProblemOfOldIsKnownAgain(t *testing.T) {
	var out, errs bytes.Buffer

	s := &settling{app: &app{Environment: Environment{Out: &out, Err: &errs, Now: time.Now}, output: formatTable}, client: &syncing{}}
	s.rememberProblems(t.Context())
	require.NoError(t, s.wait(t.Context()))
	require.Empty(t, errs.String())
	require.Contains(t, out.String(), "the cluster is as it was before")

	for _, other := range []*antlerv1.Problem{
		{Reason: "SERVICE_DOWN", Node: "n2", Subject: "mfschunkserver"},
		{Reason: "SERVICE_DOWN", Node: "n3", Subject: "mfsmetalogger"},
		{Reason: "REPLICA_FROZEN", Node: "n2"},
		{Summary: "it does not run"},
	} {
		require.True(t, s.isNew(other), other)
	}
}

func TestAMoveIsOverEvenIfTheClusterIsNotWhole(t *testing.T) {
	var out, errs bytes.Buffer

	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()

	s := &settling{app: &app{Environment: Environment{Out: &out, Err: &errs, Now: time.Now}, output: formatTable}, client: &healing{looks: 1}}
	require.NoError(t, s.wait(ctx))
	require.Equal(t, "not whole yet: n9 was not heard of; n2 took over, and 1 of 3 chunkservers are back: see `antlerctl status`\n", out.String())

	out.Reset()

	s.client = silent{}
	require.NoError(t, s.wait(ctx))
	require.Equal(t, "not whole yet: no node has said how the cluster is: see `antlerctl status`\n", out.String())

	out.Reset()

	s.output, s.client = formatJSON, &healing{looks: 1}
	require.NoError(t, s.wait(ctx))
	require.Equal(t, `{"whole":false,"remaining":["n9 was not heard of","n2 took over, and 1 of 3 chunkservers are back"],"before":[]}`+"\n", out.String())
}

func TestAClusterThatWasNotWholeIsNotCalledWhole(t *testing.T) {
	var out, errs bytes.Buffer

	s := &settling{app: &app{Environment: Environment{Out: &out, Err: &errs, Now: time.Now}, output: formatJSON}, client: &healing{looks: 3}}
	s.rememberProblems(t.Context())
	require.NoError(t, s.wait(t.Context()))
	require.Equal(t, `{"whole":false,"remaining":[],"before":["n9 was not heard of"]}`+"\n", out.String())

	// One that has gone meanwhile is not held against it.
	out.Reset()

	s.output, s.before = formatTable, []*antlerv1.Problem{{Summary: "n8 was not heard of"}, {Summary: "n9 was not heard of"}}
	require.NoError(t, s.end(s.compare(nil)))
	require.Contains(t, out.String(), "the cluster is whole, after ")
}

func TestCtrlCEndsTheWaitForTheRest(t *testing.T) {
	var out, errs bytes.Buffer

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	s := &settling{app: &app{Environment: Environment{Out: &out, Err: &errs, Now: time.Now}, output: formatTable}, client: &healing{looks: 1}}
	require.ErrorIs(t, s.wait(ctx), context.Canceled)
	require.Contains(t, out.String(), "not whole yet: ")
}
