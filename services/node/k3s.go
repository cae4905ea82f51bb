package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// k3sEnvironment tells the unit what k3s is to be; without it there is none.
const k3sEnvironment = "run/antler/k3s.env"

// k3sSettings are the part of k3s's configuration that is ours. What is not in
// here is the user's, in config.yaml.
type k3sSettings struct {
	NodeName string `yaml:"node-name"`
	// NodeIP keeps the floating address, which moves, from being taken for the node's.
	NodeIP string `yaml:"node-ip"`
	// DataDir is named so that no other file moves the data by chance.
	DataDir string `yaml:"data-dir"`
	Server  string `yaml:"server,omitempty"`
	Token   string `yaml:"token,omitempty"`
	// KubeletArgs are added to those of other files: that is what the "+" says.
	KubeletArgs []string `yaml:"kubelet-arg+,omitempty"`
}

// prepareK3s writes our drop-in, or takes away the one of a configuration that is
// no longer in force.
func prepareK3s(cfg *config.Config, root string) error {
	dropIn := filepath.Join(root, config.K3sDropIn)

	if !cfg.Node.K3s.Enabled() {
		return errors.Join(remove(dropIn), remove(filepath.Join(root, k3sEnvironment)))
	}

	settings := k3sSettings{
		NodeName: cfg.Node.Name, NodeIP: cfg.Self().Address.String(), DataDir: config.K3sData,
		Server: cfg.Node.K3s.Server, Token: cfg.Node.K3s.Token,
	}

	if dir := cfg.Cluster.Kubernetes.Kubelet(); dir != config.DefaultKubeletDir {
		settings.KubeletArgs = []string{"root-dir=" + dir}
	}

	text, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}

	const head = "# Written anew at each start, from antler.yaml. What is to be otherwise goes into\n" +
		"# ../config.yaml, or into a file here whose name comes later.\n"

	err = keepPrivate(dropIn, append([]byte(head), text...))
	if err != nil {
		return err
	}

	return write(root, k3sEnvironment, fmt.Sprintf("ANTLER_K3S_ROLE=%s\n", cfg.Node.K3s.Role))
}

// keepPrivate replaces a file on the state partition that only root may read, so
// that after a power cut it is there whole. One that is right is left alone: a card
// has only so many writes.
func keepPrivate(path string, content []byte) error {
	last, err := os.ReadFile(path)
	if err == nil && bytes.Equal(last, content) {
		return nil
	}

	err = os.MkdirAll(filepath.Dir(path), 0o700)
	if err != nil {
		return err
	}

	file, err := os.CreateTemp(filepath.Dir(path), ".antler-")
	if err != nil {
		return err
	}
	// After the rename there is nothing left to remove.
	defer func() { _ = os.Remove(file.Name()) }()

	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}

	err = errors.Join(err, file.Close())
	if err != nil {
		return err
	}

	return os.Rename(file.Name(), path)
}

func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	return err
}

// K3sMissing says why k3s will not run on the node though its configuration asks
// for it; "" where it will, or nobody asked. Root is "/" but in tests.
func K3sMissing(cfg *config.Config, root string) string {
	if !cfg.Node.K3s.Enabled() {
		return ""
	}

	_, err := os.Stat(filepath.Join(root, config.K3sProgram))
	if errors.Is(err, fs.ErrNotExist) {
		return "this image was built without k3s, so no pod runs here; all else works"
	}

	if err != nil {
		return fmt.Sprintf("k3s can't be used: %v", err)
	}

	return ""
}
