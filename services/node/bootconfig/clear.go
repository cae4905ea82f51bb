package bootconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// clearSecrets removes the secrets from the boot partition and says in StatusFile that
// the configuration is in force. The order is: rename, write without secrets,
// overwrite, remove. Flash memory may still hold a copy that only its own
// controller can reach: a card that held secrets is not given away.
func clearSecrets(boot Partition, raw []byte, cfg *config.Config, note string) error {
	stripped, had, err := strip(raw)
	if err != nil {
		return err
	}

	at := func(name string) string { return filepath.Join(boot.Dir(), name) }

	if had {
		err = boot.MakeWritable()
		if err != nil {
			return fmt.Errorf("secrets stay on the boot partition: %w", err)
		}

		err = os.Rename(at(File), at(taken))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("secrets stay on the boot partition: %w", err)
		}

		err = replace(at(File), stripped)
		if err != nil {
			return fmt.Errorf("write %s without its secrets: %w", File, err)
		}
	}

	err = wipe(boot, at(taken))
	if err != nil {
		return fmt.Errorf("secrets stay on the boot partition: %w", err)
	}

	if note != "" {
		note = "\nNote: " + note + "\n"
	}

	left := remaining(stripped, cfg)
	if left != nil {
		note += "\nNote: " + left.Error() + "\n"
	}

	return errors.Join(left, tell(boot, fmt.Sprintf("%s is in force: this is %s of cluster %s.\n\n"+
		"Its secrets were moved to the node; in the file they read %q. Leave those\n"+
		"lines as they are, edit others, and start the node again to change the configuration.\n",
		File, cfg.Node.Name, cfg.Cluster.Name, Kept)+note))
}

// tellable is the length in bytes from which on a line can be told from any other text.
const tellable = 8

// remaining is an error where the text still holds a secret: in a comment, which is
// nobody's to change but who wrote it.
func remaining(text []byte, cfg *config.Config) error {
	var paths []string

	for _, secret := range cfg.Secrets() {
		var longest string

		for line := range strings.Lines(*secret.Value) {
			if line = strings.TrimSpace(line); len(line) > len(longest) {
				longest = line
			}
		}

		if len(longest) >= tellable && bytes.Contains(text, []byte(longest)) {
			paths = append(paths, secret.Path)
		}
	}

	if paths == nil {
		return nil
	}

	return fmt.Errorf("%s still holds the value of %s, in a comment: take it out there", File, strings.Join(paths, ", "))
}

// strip puts Kept in the place of each secret and reports whether there was one.
// Comments stay.
func strip(raw []byte) ([]byte, bool, error) {
	var doc yaml.Node

	err := yaml.Unmarshal(raw, &doc)
	if err != nil {
		return nil, false, err
	}

	had := false

	for _, secret := range (&config.Config{}).Secrets() {
		node := find(&doc, strings.Split(secret.Path, "."))
		if node == nil || node.Value == Kept || node.Value == "" {
			continue
		}

		node.SetString(Kept)

		node.Style, had = yaml.DoubleQuotedStyle, true
	}

	var out bytes.Buffer

	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)

	err = encoder.Encode(&doc)

	return out.Bytes(), had, err
}

// mergeKey is YAML's: a mapping has what its value has, or its values have.
const mergeKey = "<<"

// find returns the value at the path of keys, or nil. An alias stands for what
// it points to, and what was merged into a mapping is found where it came from.
func find(node *yaml.Node, path []string) *yaml.Node {
	switch {
	case node.Kind == yaml.DocumentNode && len(node.Content) > 0:
		return find(node.Content[0], path)
	case node.Kind == yaml.AliasNode:
		return find(node.Alias, path)
	case len(path) == 0:
		return node
	}

	if node.Kind == yaml.SequenceNode { // merged, the first counts
		for _, mapping := range node.Content {
			if found := find(mapping, path); found != nil {
				return found
			}
		}
	}

	if node.Kind != yaml.MappingNode {
		return nil
	}

	var merged *yaml.Node

	for i := 0; i+1 < len(node.Content); i += 2 {
		switch node.Content[i].Value {
		case path[0]:
			return find(node.Content[i+1], path[1:])
		case mergeKey:
			merged = node.Content[i+1]
		}
	}

	if merged == nil {
		return nil
	}

	return find(merged, path)
}

// wipe overwrites a file in place before it is removed: on a FAT its blocks
// would else be read with any tool for lost photos.
func wipe(boot Partition, path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	if err != nil {
		return err
	}

	file.Close()

	err = boot.MakeWritable()
	if err != nil {
		return err
	}

	file, err = os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return err
	}

	_, err = file.Write(make([]byte, info.Size()))
	if err == nil {
		err = file.Sync()
	}

	if err != nil {
		return err
	}

	return os.Remove(path)
}

// tell writes StatusFile, unless it says so already.
func tell(boot Partition, text string) error {
	path := filepath.Join(boot.Dir(), StatusFile)

	last, err := os.ReadFile(path)
	if err == nil && string(last) == text {
		return nil
	}

	err = boot.MakeWritable()
	if err == nil {
		err = replace(path, []byte(text))
	}

	if err != nil {
		return fmt.Errorf("write %s: %w", StatusFile, err)
	}

	return nil
}

// replace writes a file so that after a power cut it is there whole, the old one
// or the new one.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "antler-new-")
	if err != nil {
		return err
	}

	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}

	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}

	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}

	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()

	return dir.Sync()
}
