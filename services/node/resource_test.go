package node_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"antler/services/node"
	"antler/services/node/config"
)

// Whoever may look may look at resources: `antlerctl get config` shows this.
func TestTheConfigurationIsShownWithoutItsSecrets(t *testing.T) {
	cfg := &config.Config{}
	for _, secret := range cfg.Secrets() {
		*secret.Value = "hunter2-" + secret.Path
	}

	shown, err := yaml.Marshal(node.NodeConfigSpec{Config: cfg})
	require.NoError(t, err)
	require.NotContains(t, string(shown), "hunter2")
	require.Equal(t, "hunter2-pki.key", cfg.PKI.Key, "the node's own stays as it is")
}
