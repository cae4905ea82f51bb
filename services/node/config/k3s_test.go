package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node/config"
)

func TestK3s(t *testing.T) {
	const url, token = "https://10.5.0.1:6443", "K10abc::server:0123456789abcdef"

	for _, tc := range []struct {
		name string
		k3s  config.K3s
		want []string
	}{
		{"none", config.K3s{}, nil},
		{"the first server", config.K3s{Role: config.K3sServer}, nil},
		{"the first server, with a token of one's own", config.K3s{Role: config.K3sServer, Token: token}, nil},
		{"another server", config.K3s{Role: config.K3sServer, Server: url, Token: token}, nil},
		{"an agent, by IPv6 and with a slash", config.K3s{Role: config.K3sAgent, Server: "https://[fd00::1]:6443/", Token: token}, nil},
		{"no role", config.K3s{Token: token}, []string{"node.k3s.role: is missing: write server or agent, or remove k3s"}},
		{"another role", config.K3s{Role: "master"}, []string{`node.k3s.role: "master" is not a role of k3s: write server or agent`}},
		{"an agent on its own", config.K3s{Role: config.K3sAgent}, []string{
			"node.k3s.server: is missing: an agent joins a server: write for example https://192.168.1.11:6443",
		}},
		{"joining without a token", config.K3s{Role: config.K3sServer, Server: url}, []string{
			"node.k3s.token: is missing: nobody joins a server without one: write the token that the server has",
		}},
		{"everything at once", config.K3s{Role: config.K3sAgent, Server: "http://10.5.0.1:6443", Token: "two words"}, []string{
			`node.k3s.server: "http://10.5.0.1:6443" is not the https URL of a server: write for example https://192.168.1.11:6443`,
			"node.k3s.token: has blanks or other characters in it that no token has: copy the whole line of /var/lib/rancher/k3s/server/token from a server, or choose a long word",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := node(t)
			cfg.Node.K3s = tc.k3s

			err := cfg.Validate(now())
			if tc.want == nil {
				require.NoError(t, err)

				return
			}

			require.Equal(t, tc.want, problems(t, err))
		})
	}
}

func TestK3sServersThatAreNone(t *testing.T) {
	for _, url := range []string{
		"10.5.0.1", "10.5.0.1:6443", "https://", "https://:6443", "https://10.5.0.1:0", "https://10.5.0.1:70000", "https://10.5.0.1:x",
		"https://10.5.0.1:6443/cacerts", "https://10.5.0.1?a=b", "https://10.5.0.1#a", "https://me:hunter2@10.5.0.1", "https://a b", "\n",
	} {
		cfg := node(t)
		cfg.Node.K3s = config.K3s{Role: config.K3sAgent, Server: url, Token: "0123456789abcdef"}

		got := problems(t, cfg.Validate(now()))
		require.Len(t, got, 1, url)
		require.Contains(t, got[0], "node.k3s.server: ", url)
		require.NotContains(t, got[0], "hunter2")
	}
}

func TestK3sTokensAreNotRepeated(t *testing.T) {
	for _, token := range []string{"hunter2\n", "hunter2 ", "hunter2\x00", "hunter2ü", strings.Repeat("hunter2", 100)} {
		cfg := node(t)
		cfg.Node.K3s = config.K3s{Role: config.K3sServer, Token: token}

		got := problems(t, cfg.Validate(now()))
		require.Len(t, got, 1)
		require.NotContains(t, got[0], "hunter2")
	}
}

func TestKubeconfigOfANodeWithK3s(t *testing.T) {
	cfg := node(t)
	require.Empty(t, cfg.Kubeconfig(), "no claims are provisioned")

	cfg.Node.K3s.Role = config.K3sServer
	require.Equal(t, "/etc/rancher/k3s/k3s.yaml", cfg.Kubeconfig())

	cfg.Cluster.Kubernetes.Kubeconfig = "/var/lib/antler/kubeconfig"
	require.Equal(t, "/var/lib/antler/kubeconfig", cfg.Kubeconfig(), "what is configured comes first")
}
