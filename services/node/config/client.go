package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
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
	// Address is host:port.
	Address string `yaml:"address"`
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

	return client, nil
}

// TLSCertificate returns the client's certificate with its key, and the pool
// with the cluster's CA and nothing else.
func (c *Client) TLSCertificate() (tls.Certificate, *x509.CertPool, error) {
	return PKI{CA: c.CA, Cert: c.Cert, Key: c.Key}.TLSCertificate()
}
