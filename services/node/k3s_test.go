package node_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"antler/services/node"
	"antler/services/node/config"
)

func withK3s(k3s config.K3s) *config.Config {
	return &config.Config{
		Cluster: config.Cluster{Nodes: []config.Member{{Name: "n1", Address: netip.MustParseAddr("10.5.0.1")}}},
		Node:    config.Node{Name: "n1", K3s: k3s},
	}
}

func TestPrepareWritesOurDropInForK3s(t *testing.T) {
	root := t.TempDir()
	cfg := withK3s(config.K3s{Role: config.K3sAgent, Server: "https://10.5.0.2:6443", Token: "0123: '456'"})
	cfg.Cluster.Kubernetes.KubeletDir = "/var/lib/pods"

	mine := filepath.Join(root, "etc/rancher/k3s/config.yaml")
	require.NoError(t, os.MkdirAll(filepath.Dir(mine), 0o700))
	require.NoError(t, os.WriteFile(mine, []byte("disable: traefik\n"), 0o600))

	require.NoError(t, node.Prepare(cfg, root))
	require.Equal(t, "disable: traefik\n", read(t, root, "etc/rancher/k3s/config.yaml"), "the user's own")
	require.Equal(t, "ANTLER_K3S_ROLE=agent\n", read(t, root, "run/antler/k3s.env"))

	const dropIn = "etc/rancher/k3s/config.yaml.d/10-antler.yaml"

	var got map[string]any

	require.NoError(t, yaml.Unmarshal([]byte(read(t, root, dropIn)), &got))
	require.Equal(t, map[string]any{
		"node-name": "n1", "node-ip": "10.5.0.1", "data-dir": "/var/lib/rancher/k3s",
		"server": "https://10.5.0.2:6443", "token": "0123: '456'", "kubelet-arg+": []any{"root-dir=/var/lib/pods"},
	}, got)

	before, err := os.Stat(filepath.Join(root, dropIn))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), before.Mode(), "it holds the token")

	require.NoError(t, node.Prepare(cfg, root))
	after, err := os.Stat(filepath.Join(root, dropIn))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "what is right is not written again")

	entries, err := os.ReadDir(filepath.Dir(filepath.Join(root, dropIn)))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestPrepareTakesTheDropInAwayWithTheSetting(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, node.Prepare(withK3s(config.K3s{Role: config.K3sServer}), root))

	dropIn := read(t, root, config.K3sDropIn)
	require.NotContains(t, dropIn, "token")
	require.NotContains(t, dropIn, "server:")
	require.NotContains(t, dropIn, "kubelet-arg")

	require.NoError(t, node.Prepare(withK3s(config.K3s{}), root))
	require.NoFileExists(t, filepath.Join(root, config.K3sDropIn))
	require.NoFileExists(t, filepath.Join(root, "run/antler/k3s.env"))
}

func TestK3sMissing(t *testing.T) {
	root := t.TempDir()
	require.Empty(t, node.K3sMissing(withK3s(config.K3s{}), root), "nobody asked")

	server := withK3s(config.K3s{Role: config.K3sServer})
	require.Contains(t, node.K3sMissing(server, root), "built without k3s")

	program := filepath.Join(root, config.K3sProgram)
	require.NoError(t, os.MkdirAll(filepath.Dir(program), 0o755))
	require.NoError(t, os.WriteFile(program, nil, 0o755))
	require.Empty(t, node.K3sMissing(server, root))
}

func TestK3sStatusNamesTheVersionOfTheImage(t *testing.T) {
	root := t.TempDir()
	server := withK3s(config.K3s{Role: config.K3sServer})
	require.Contains(t, node.NewK3sStatus(server, root).TypedSpec().Error, "built without k3s")

	for path, text := range map[string]string{config.K3sProgram: "", config.K3sVersion: "v1.33.1+k3s1\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, path), []byte(text), 0o755))
	}

	require.Equal(t, node.K3sStatusSpec{Role: config.K3sServer, Version: "v1.33.1+k3s1"}, *node.NewK3sStatus(server, root).TypedSpec())
}
