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
		todo = append(todo, file{node.Node.Name + ".yaml", node})
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
