// Package validate refuses a Talos system extension that Talos would take and
// that would fail on a node.
//
// Talos's own checks (machinery's extensions.Extension.Validate and
// services.Spec.Validate) accept world-writable files, a path like
// /usr/localfoo, a manifest without a name, keys that nobody knows, and service
// dependencies that never come true. A node that has such an image boots late,
// or never. So what is checked here is the image's content as it is shipped (a
// tar stream), by a list of what is allowed, and everything else is refused.
//
// It knows nothing of Antler: Want says what the extension is to be.
package validate

import (
	"fmt"

	"antler/services/node/config"
)

// Want is what the extension has to be.
type Want struct {
	// Name of the extension, of its service, and of the service's directory.
	Name string
	// Arch of every program: arm64 or amd64.
	Arch string
	// Kernel is the release of the kernel whose modules it carries, "" for none.
	Kernel string
	// Budget is the most bytes that the unpacked root may take.
	Budget int64
}

// Check returns everything that is wrong with the extension, as
// config.Problems, or nil.
func Check(content []Entry, want Want) error {
	c := &checker{Want: want, files: map[string]Entry{}}
	for _, entry := range content {
		c.entry(entry)
	}
	c.layout()
	c.links()
	c.manifest()
	c.service()
	c.programs()
	c.modules()
	c.udev()
	c.budget()
	if len(c.problems) == 0 {
		return nil
	}
	return c.problems
}

// checker collects problems.
type checker struct {
	Want
	files    map[string]Entry
	problems config.Problems
}

func (c *checker) refuse(path, hint, reason string, args ...any) {
	c.problems = append(c.problems, config.Problem{Path: path, Reason: fmt.Sprintf(reason, args...), Hint: hint})
}

// Places in the image.
const (
	manifestFile = "manifest.yaml"
	rootfs       = "rootfs"
)

// root is the root of the service's container, specFile what describes it.
func (c *checker) root() string     { return rootfs + "/usr/local/lib/containers/" + c.Name }
func (c *checker) specFile() string { return rootfs + "/usr/local/etc/containers/" + c.Name + ".yaml" }
func (c *checker) extras() string   { return rootfs + "/usr/lib/modules/" + c.Kernel + "/extras" }
