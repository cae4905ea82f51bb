package bootconfig

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

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
