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

// remaining is an error where a comment holds a secret: it is nobody's to change but
// who wrote it.
func remaining(text []byte, cfg *config.Config) error {
	var doc yaml.Node

	err := yaml.Unmarshal(text, &doc)
	if err != nil {
		return err
	}

	said, paths := comments(&doc), []string(nil)

	for _, secret := range cfg.Secrets() {
		var longest string

		for line := range strings.Lines(*secret.Value) {
			if line = strings.TrimSpace(line); len(line) > len(longest) {
				longest = line
			}
		}

		if len(longest) >= tellable && strings.Contains(said, longest) {
			paths = append(paths, secret.Path)
		}
	}

	if paths == nil {
		return nil
	}

	return fmt.Errorf("%s still holds the value of %s, in a comment: take it out there", File, strings.Join(paths, ", "))
}

// comments of the node and all beneath it.
func comments(node *yaml.Node) string {
	all := node.HeadComment + "\n" + node.LineComment + "\n" + node.FootComment + "\n"
	for _, child := range node.Content {
		all += comments(child)
	}

	return all
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
		if node == nil || node.Value == Kept || node.Value == "" || node.ShortTag() == "!!null" {
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

// find returns the value at the path of keys, or nil.
func find(node *yaml.Node, path []string) *yaml.Node {
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}

	for _, key := range path {
		node = value(node, key, map[*yaml.Node]bool{})
		if node == nil {
			return nil
		}
	}

	if node.Kind == yaml.AliasNode {
		return node.Alias
	}

	return node
}

// value of the key in a mapping, or nil. An alias stands for what it points to, and
// what is merged in counts where the mapping doesn't have it, of several the first. An
// alias may lead back to where it stands: seen are those that were looked at.
func value(node *yaml.Node, key string, seen map[*yaml.Node]bool) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}

	if seen[node] {
		return nil
	}

	seen[node] = true

	var merged []*yaml.Node

	for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
		switch node.Content[i].Value {
		case key:
			return node.Content[i+1]
		case mergeKey:
			merged = append(merged, node.Content[i+1])
		}
	}

	if node.Kind == yaml.SequenceNode {
		merged = node.Content
	}

	for _, from := range merged {
		if found := value(from, key, seen); found != nil {
			return found
		}
	}

	return nil
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
