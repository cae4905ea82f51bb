package config

// Secret is a setting that must not lie where anybody can read it.
type Secret struct {
	// Path of the setting, for example pki.key.
	Path string
	// Value in the configuration it was taken from.
	Value *string
}

// Secrets returns every secret of the configuration, in the same order always. One
// that isn't set is "".
func (c *Config) Secrets() []Secret {
	return []Secret{
		{"cluster.password", &c.Cluster.Password},
		{"cluster.adminPassword", &c.Cluster.AdminPassword},
		{"cluster.chunkserverSecret", &c.Cluster.ChunkserverSecret},
		{"pki.key", &c.PKI.Key},
		{"node.k3s.token", &c.Node.K3s.Token},
	}
}
