package validate

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"bytes"

	"github.com/blang/semver/v4"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
	"go.yaml.in/yaml/v4"
)

var (
	// names are those of DNS labels: they become those of files, of a service,
	// and of a resource.
	names = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// versions are those that image tags can have.
	versions = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9._]{0,127}$`)
)

// manifest: all of it is there, and nothing else.
func (c *checker) manifest() {
	e, found := c.files[manifestFile]
	if !found {
		return
	}
	var m extensions.Manifest
	if err := decode(e.Data, &m); err != nil {
		c.refuse(manifestFile, "see Talos's documentation of extensions", "%v", err)
		return
	}
	data := m.Metadata
	if m.Version != "v1alpha1" {
		c.refuse("manifest.version", "write v1alpha1", "%q is not known", m.Version)
	}
	if !names.MatchString(data.Name) || data.Name != c.Name {
		c.refuse("manifest.metadata.name", "write "+c.Name, "%q is not the extension's name", data.Name)
	}
	if !versions.MatchString(data.Version) {
		c.refuse("manifest.metadata.version", "write one that can be an image's tag", "%q is no version", data.Version)
	}
	if strings.TrimSpace(data.Author) == "" {
		c.refuse("manifest.metadata.author", "say who made it", "it is empty")
	}
	if strings.TrimSpace(data.Description) == "" {
		c.refuse("manifest.metadata.description", "say what it is", "it is empty")
	}
	c.compatibility(data.Compatibility.Talos.Version)
}

// compatibility: without a constraint a Talos that lacks what the service needs
// would take the extension.
func (c *checker) compatibility(constraint string) {
	const path = "manifest.metadata.compatibility.talos.version"
	if strings.TrimSpace(constraint) == "" {
		c.refuse(path, `write ">= v1.13.0", for example`, "it is empty")
		return
	}
	_, err := semver.ParseRange(strings.ReplaceAll(constraint, "v", ""))
	if err != nil {
		c.refuse(path, `write ">= v1.13.0", for example`, "%q is no constraint: %v", constraint, err)
	}
}

// decode one document, strictly.
func decode(raw []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one document in it")
	}
	return nil
}
