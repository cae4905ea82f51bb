package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Client is what a person needs to reach a cluster: where its nodes answer, and
// the keys that say who asks. `antlerctl gen config` makes admin.yaml and
// reader.yaml in this form.
type Client struct {
	// Cluster is the cluster's name.
	Cluster string `yaml:"cluster"`
	// Endpoints are tried in order until one answers.
	Endpoints []Endpoint `yaml:"endpoints"`
	// CA, Cert and Key are PEM blocks.
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Endpoint is where the API of a node answers.
type Endpoint struct {
	// Node is the name that the node's certificate must carry.
	Node string `yaml:"node"`
	// Address is host:port, or vsock:CID or vsock:CID:PORT for a node that is a
	// virtual machine on this host (the CID is its guest-cid).
	Address string `yaml:"address"`
}

// vsockScheme begins the address of a virtual machine on this host.
const vsockScheme = "vsock:"

// Vsock returns the context id and the port of an address that begins with vsock:,
// and reports whether it does.
func (e Endpoint) Vsock() (cid, port uint32, is bool, err error) {
	rest, is := strings.CutPrefix(e.Address, vsockScheme)
	if !is {
		return 0, 0, false, nil
	}

	id, number, given := strings.Cut(rest, ":")
	if !given {
		number = strconv.Itoa(APIPort)
	}

	parsedID, err := strconv.ParseUint(id, 10, 32)
	if err == nil {
		var parsedPort uint64

		parsedPort, err = strconv.ParseUint(number, 10, 32)
		cid, port = uint32(parsedID), uint32(parsedPort)
	}

	if err != nil {
		return 0, 0, true, fmt.Errorf("%s is not vsock:CID or vsock:CID:PORT", e.Address)
	}

	return cid, port, true, nil
}

// NodeMetadata is the gRPC request metadata that names the node which shall
// answer a call: the asked node passes it on.
const NodeMetadata = "antler-node"

// LoadClient reads a client configuration.
func LoadClient(path string) (*Client, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read client configuration: %w", err)
	}

	client := &Client{}

	err = Decode(raw, client)
	if err != nil {
		return nil, fmt.Errorf("client configuration %s: %w", path, err)
	}

	if len(client.Endpoints) == 0 {
		return nil, fmt.Errorf("client configuration %s: it names no endpoints: make a new one with `antlerctl gen config`", path)
	}

	for i, endpoint := range client.Endpoints {
		if _, _, _, err := endpoint.Vsock(); err != nil {
			return nil, fmt.Errorf("client configuration %s: %s.address: %w", path, index("endpoints", i), err)
		}
	}

	return client, nil
}

// TLSCertificate returns the client's certificate with its key, and the pool
// with the cluster's CA and nothing else.
func (c *Client) TLSCertificate() (tls.Certificate, *x509.CertPool, error) {
	return PKI{CA: c.CA, Cert: c.Cert, Key: c.Key}.TLSCertificate()
}
