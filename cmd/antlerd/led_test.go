package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
	"antler/services/node/led"
)

// answers stands for antlerd.
type answers struct {
	antlerv1.ClusterServiceClient
	cluster *antlerv1.ClusterStatus
	err     error
}

func (a answers) GetStatus(context.Context, *antlerv1.GetStatusRequest, ...grpc.CallOption) (*antlerv1.GetStatusResponse, error) {
	return &antlerv1.GetStatusResponse{Cluster: a.cluster}, a.err
}

func TestConditionForTheLight(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "refused")
	ours := func() (*config.Config, error) { return &config.Config{Node: config.Node{Name: "n1"}}, nil }
	none := func() (*config.Config, error) { return nil, os.ErrNotExist }
	well := answers{cluster: &antlerv1.ClusterStatus{
		Authority: &antlerv1.Authority{Quorum: true}, Serving: &antlerv1.Serving{Node: "n1"},
		Nodes: []*antlerv1.NodeStatus{{Name: "n1", Alive: true}},
	}}
	alone := answers{cluster: &antlerv1.ClusterStatus{}}
	silent := answers{err: errors.New("nobody listens")}

	require.Equal(t, led.Healthy, condition(t.Context(), flag, ours, well))
	require.Equal(t, led.Unhealthy, condition(t.Context(), flag, ours, alone))
	require.Equal(t, led.Unhealthy, condition(t.Context(), flag, ours, silent))
	require.Equal(t, led.Unhealthy, condition(t.Context(), flag, none, well))

	require.NoError(t, os.WriteFile(flag, nil, 0o644))
	require.Equal(t, led.Refused, condition(t.Context(), flag, ours, well), "also of a node that goes on with what it had")
}
