package gen

import (
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// Write writes all files into dir, which it makes, and returns their paths. All
// of them hold keys and are readable by their owner only.
func (f *Files) Write(dir string) ([]string, error) {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("make the directory for the files: %w", err)
	}

	type file struct {
		name    string
		content any
	}

	// The secrets come first: without them the others could not be made again.
	todo := []file{{SecretsFile, f.Secrets}}

	for _, node := range f.Nodes {
		commented, err := explained(node)
		if err != nil {
			return nil, fmt.Errorf("encode the configuration of %s: %w", node.Node.Name, err)
		}

		todo = append(todo, file{node.Node.Name + ".yaml", commented})
	}

	todo = append(todo, file{"admin.yaml", f.Admin}, file{"reader.yaml", f.Reader})

	var written []string

	for _, file := range todo {
		path := filepath.Join(dir, file.name)

		err = writeYAML(path, file.content)
		if err != nil {
			return written, err
		}

		written = append(written, path)
	}

	return written, nil
}

// explained is a node's configuration with comments for whoever opens the file.
func explained(node *config.Config) (*yaml.Node, error) {
	var doc yaml.Node

	err := doc.Encode(node)
	if err != nil {
		return nil, err
	}

	doc.HeadComment = fmt.Sprintf(`%[1]s of cluster %[2]s. This file holds keys: whoever has it can be this node.

On the image: antlerctl flash IMAGE DISK --node-config %[1]s.yaml
or put it as antler.yaml on the partition ANTLER of a card that has the image.
On other systems: %[3]s`, node.Node.Name, node.Cluster.Name, config.DefaultPath)

	comments := map[string]string{
		"cluster": "The same on every node: change it in the cluster file, and make all files again.",
		"node":    "This node's own: its disks, by a path that stays the same, and its network.",
		"pki":     "Who this node is. Certificates expire: make the files again to renew them.",
	}

	for i := 0; i < len(doc.Content); i += 2 {
		doc.Content[i].HeadComment = comments[doc.Content[i].Value]
	}

	return &doc, nil
}

// WriteClient writes a client configuration that only its owner can read.
func WriteClient(path string, client *config.Client) error { return writeYAML(path, client) }

func writeYAML(path string, content any) error {
	raw, err := yaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}

	return writeFile(path, raw)
}

// writeFile replaces the file in one step, so that it is never half there.
func writeFile(path string, raw []byte) error {
	// CreateTemp gives mode 0600.
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// After the rename there is nothing left to remove.
	defer func() { _ = os.Remove(temporary.Name()) }()

	defer temporary.Close()

	_, err = temporary.Write(raw)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	err = temporary.Sync()
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	err = os.Rename(temporary.Name(), path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	return nil
}
