package config

// K3sRole is what k3s is on a node.
type K3sRole string

// The roles of k3s.
const (
	// K3sServer runs the control plane, and pods.
	K3sServer K3sRole = "server"
	// K3sAgent runs pods.
	K3sAgent K3sRole = "agent"
)

// K3s is the Kubernetes of the appliance image. It is off by default.
type K3s struct {
	Role K3sRole `yaml:"role,omitempty"`
	// Server is the https URL of a server to join. An agent has one; the first
	// server has none.
	Server string `yaml:"server,omitempty"`
	// Token with which servers and agents join. Where the first server has none
	// it makes one.
	Token string `yaml:"token,omitempty"`
}

// Enabled reports whether k3s shall run on the node.
func (k K3s) Enabled() bool { return k.Role != "" }

// Places of k3s on the image.
const (
	// K3sProgram is in the image only if it was built with one, and K3sVersion then
	// says which.
	K3sProgram = "/usr/local/bin/k3s"
	K3sVersion = "/usr/local/share/k3s/version"
	// K3sData is on the state partition. The replica holds the metadata and
	// nothing else, and comes and goes.
	K3sData = "/var/lib/rancher/k3s"
	// K3sDropIn is ours. k3s reads it after its config.yaml, which is the
	// user's, and in the order of names with whatever else is in the directory.
	K3sDropIn = "/etc/rancher/k3s/config.yaml.d/10-antler.yaml"
	// K3sKubeconfig is what a server writes, for administrators.
	K3sKubeconfig = "/etc/rancher/k3s/k3s.yaml"
)

// Kubeconfig is where this node has the credentials with which claims are
// provisioned: as configured, or k3s's own. An agent has no file there, unless
// somebody puts one.
func (c *Config) Kubeconfig() string {
	if c.Cluster.Kubernetes.Kubeconfig == "" && c.Node.K3s.Enabled() {
		return K3sKubeconfig
	}

	return c.Cluster.Kubernetes.Kubeconfig
}
