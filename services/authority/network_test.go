package authority_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// network drops all on links that are cut. Their connections stay open, as after a power
// cut.
type network struct {
	mu sync.Mutex
	// cut links, in both directions.
	cut map[[2]string]bool
}

// isolate cuts or heals all of the node's links.
func (n *network) isolate(node string, cut bool) {
	for _, other := range []string{"n1", "n2", "n3", "n4"} {
		n.link(node, other, cut)
	}
}

// link cuts or heals one.
func (n *network) link(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.cut == nil {
		n.cut = map[[2]string]bool{}
	}

	n.cut[[2]string{min(a, b), max(a, b)}] = cut
}

func (n *network) drops(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return a != b && n.cut[[2]string{min(a, b), max(a, b)}]
}

func (n *network) dialer(self string, members []authority.Member) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to := ""

		for _, m := range members {
			if address == m.Address || address == m.RaftAddress {
				to = m.Name
			}
		}

		// Not from where the nodes listen: a port taken by a connection could not be
		// listened on again.
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
		conn, err := from.DialContext(ctx, network, address)

		return &wire{conn, func() bool { return n.drops(self, to) }}, err
	}
}

// wire is a connection that can be cut without being closed.
type wire struct {
	net.Conn

	drops func() bool
}

func (w *wire) Write(p []byte) (int, error) {
	if w.drops() {
		return len(p), nil
	}

	return w.Conn.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		if err != nil || !w.drops() {
			return n, err
		}
	}
}

// pki is a CA for a test.
type pki struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t testing.TB) *pki {
	t.Helper()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)

	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)

	return &pki{cert, key}
}

// node returns the two TLS configurations of a node.
func (p *pki) node(t testing.TB, name string) (server, client *tls.Config) {
	t.Helper()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)

	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"antler:node"}}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, p.cert, key.Public(), p.key)
	require.NoError(t, err)

	pool := x509.NewCertPool()
	pool.AddCert(p.cert)

	certs := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}

	return &tls.Config{Certificates: certs, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13},
		&tls.Config{Certificates: certs, RootCAs: pool, MinVersion: tls.VersionTLS13}
}
