package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node/config"
)

func TestVsockAddress(t *testing.T) {
	for address, want := range map[string]struct {
		cid, port uint32
		is        bool
	}{
		"vsock:3":             {3, config.APIPort, true},
		"vsock:3:77":          {3, 77, true},
		"192.168.1.11:9440":   {},
		"vsock.example.:9440": {},
	} {
		cid, port, is, err := config.Endpoint{Address: address}.Vsock()
		require.NoError(t, err, address)
		require.Equal(t, want.cid, cid, address)
		require.Equal(t, want.port, port, address)
		require.Equal(t, want.is, is, address)
	}

	for _, address := range []string{"vsock:", "vsock:n1", "vsock:3:", "vsock:3:77:1", "vsock:-1", "vsock:4294967296"} {
		path := filepath.Join(t.TempDir(), "admin.yaml")
		require.NoError(t, os.WriteFile(path, []byte("cluster: c\nendpoints: [{node: n1, address: '"+address+"'}]\n"), 0o600))

		_, err := config.LoadClient(path)
		require.ErrorContains(t, err, "endpoints[0].address: "+address+" is not vsock:CID", address)
	}
}
