package gen

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"antler/services/node/config"
)

// SecretsFile is the name of the file that holds a cluster's Secrets. Whoever
// has it can become anybody in the cluster: it belongs in a safe, not on a node.
const SecretsFile = "ca.yaml"

// Secrets are what is made once for a cluster and kept.
type Secrets struct {
	// Cluster is the name, ID the UUID of the cluster they belong to.
	Cluster string `yaml:"cluster"`
	ID      string `yaml:"id"`
	// CACert and CAKey are PEM blocks.
	CACert string `yaml:"caCert"`
	CAKey  string `yaml:"caKey"`
	// Password, AdminPassword and ChunkserverSecret as in config.Cluster.
	Password          string `yaml:"password"`
	AdminPassword     string `yaml:"adminPassword"`
	ChunkserverSecret string `yaml:"chunkserverSecret"`
	// Endpoints of the cluster when its files were last made, for the client
	// files made later.
	Endpoints []config.Endpoint `yaml:"endpoints"`
}

// NewSecrets makes the secrets of a new cluster.
func NewSecrets(cluster string, now time.Time) (*Secrets, error) {
	authority, err := NewAuthority(cluster, now)
	if err != nil {
		return nil, err
	}

	return &Secrets{
		Cluster: cluster,
		ID:      uuid.NewString(),
		CACert:  authority.Cert,
		CAKey:   authority.Key,
		// rand.Text has 130 bits in 26 letters and digits.
		Password:          rand.Text(),
		AdminPassword:     rand.Text(),
		ChunkserverSecret: rand.Text(),
	}, nil
}

// LoadSecrets reads the secrets file at path. A missing one is fs.ErrNotExist.
func LoadSecrets(path string) (*Secrets, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's secrets: %w", err)
	}

	secrets := &Secrets{}

	err = config.Decode(raw, secrets)
	if err != nil {
		return nil, fmt.Errorf("the cluster's secrets in %s: %w", path, err)
	}

	return secrets, nil
}

// SecretsFor returns the secrets in dir of the cluster called name, or new ones
// where there are none or renew is set. Secrets of another cluster are refused.
func SecretsFor(dir, name string, renew bool, now time.Time) (*Secrets, error) {
	path := filepath.Join(dir, SecretsFile)

	secrets, err := LoadSecrets(path)

	switch {
	case errors.Is(err, fs.ErrNotExist) || renew:
		return NewSecrets(name, now)
	case err != nil:
		return nil, fmt.Errorf("%w: restore it from a copy, or start a new cluster with --force", err)
	case secrets.Cluster != name:
		return nil, fmt.Errorf("%s belongs to the cluster %q, and the cluster file describes %q: choose another directory with -o", path, secrets.Cluster, name)
	default:
		return secrets, nil
	}
}

// Client makes a client configuration for a person.
func (s *Secrets) Client(name, organization string, now time.Time, lifetime time.Duration) (*config.Client, error) {
	authority, err := LoadAuthority(s.CACert, s.CAKey)
	if err != nil {
		return nil, err
	}

	pki, err := authority.Person(name, organization, now, lifetime)
	if err != nil {
		return nil, err
	}

	return &config.Client{Cluster: s.Cluster, Endpoints: s.Endpoints, CA: pki.CA, Cert: pki.Cert, Key: pki.Key}, nil
}
