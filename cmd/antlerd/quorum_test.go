package main

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

// Between nodes a person's certificate doesn't get through, whoever calls, nor does one of
// another cluster.
func TestNodesOnly(t *testing.T) {
	nodes, admin := pkiOf(t)
	others, _ := pkiOf(t)

	for name, test := range map[string]struct {
		server, client config.PKI
		want           string
	}{
		"two nodes":                    {nodes[0], nodes[1], ""},
		"a person calls":               {nodes[0], admin, "no node's certificate"},
		"a person is called":           {admin, nodes[0], "not valid for"},
		"a node of another cluster":    {nodes[0], others[1], "unknown authority"},
		"a node calls another cluster": {others[0], nodes[1], "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			err := handshake(t, test.server, test.client)
			if test.want == "" {
				require.NoError(t, err)

				return
			}

			require.ErrorContains(t, err, test.want)
		})
	}
}

// pkiOf returns the certificates of the nodes of a new cluster, and of a person.
func pkiOf(t *testing.T) ([]config.PKI, config.PKI) {
	t.Helper()

	ca, err := gen.NewAuthority("home", time.Now())
	require.NoError(t, err)

	var nodes []config.PKI

	for _, name := range []string{"n1", "n2"} {
		node, err := ca.Node(config.Member{Name: name, Address: netip.MustParseAddr("10.5.0.1")}, config.Cluster{}, time.Now())
		require.NoError(t, err)

		nodes = append(nodes, node)
	}

	admin, err := ca.Person("anna", config.OrganizationAdmin, time.Now(), time.Hour)
	require.NoError(t, err)

	return nodes, admin
}

// handshake returns what either end has against the other.
func handshake(t *testing.T, server, client config.PKI) error {
	t.Helper()

	serverTLS, _, err := nodesOnly(server)
	require.NoError(t, err)
	_, clientTLS, err := nodesOnly(client)
	require.NoError(t, err)

	clientTLS.ServerName = "n1"
	there, here := net.Pipe()
	told := make(chan error, 1)

	go func() {
		told <- tls.Server(there, serverTLS).HandshakeContext(t.Context())
		there.Close()
	}()

	err = tls.Client(here, clientTLS).HandshakeContext(t.Context())
	here.Close()

	return errors.Join(err, <-told)
}
