package validate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/siderolabs/talos/pkg/machinery/extensions/services"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
)

// service checks what Talos runs.
func (c *checker) service() {
	e, found := c.files[c.specFile()]
	if !found {
		return
	}
	var spec services.Spec
	if err := decode(e.Data, &spec); err != nil {
		c.refuse(c.specFile(), "see Talos's documentation of extension services", "%v", err)
		return
	}
	if spec.Name != c.Name {
		c.refuse("service.name", "write "+c.Name, "%q is not the name of the service's directory", spec.Name)
	}
	if spec.Restart != services.RestartAlways {
		c.refuse("service.restart", "write always", "the service would stay away once it has ended")
	}
	if err := spec.Validate(); err != nil {
		c.refuse("service", "", "Talos refuses it: %v", err)
	}
	c.container(spec.Container)
	c.mounts(spec.Container)
	c.depends(spec)
}

// container: what is run, and how.
func (c *checker) container(container services.Container) {
	if !path.IsAbs(container.Entrypoint) {
		c.refuse("service.container.entrypoint", "write an absolute path", "%q would be looked for in a PATH that a service doesn't have", container.Entrypoint)
	} else if _, found := c.program(container.Entrypoint); !found {
		c.refuse("service.container.entrypoint", "add the program", "%s is not in the service's root, or can't be executed", container.Entrypoint)
	}
	if !slices.ContainsFunc(container.Environment, func(v string) bool { return strings.HasPrefix(v, "PATH=/") }) {
		c.refuse("service.container.environment", `add "PATH=/usr/sbin:/usr/bin"`, "a service gets no PATH, so it would find no program")
	}
	for i, v := range container.Environment {
		if name, _, found := strings.Cut(v, "="); !found || name == "" {
			c.refuse(fmt.Sprintf("service.container.environment[%d]", i), "write NAME=value", "%q is no variable", v)
		}
	}
	if container.EnvironmentFile != "" {
		c.refuse("service.container.environmentFile", "use an ExtensionServiceConfig", "a node without the file waits for it at every boot")
	}
	if container.Security.WriteableRootfs {
		c.refuse("service.container.security.writeableRootfs", "mount what is to be written", "the service could change its own programs")
	}
}

// mounts: Talos makes a source that is missing, so any clean path will do; how
// mounts spread is what goes wrong.
func (c *checker) mounts(container services.Container) {
	seen := map[string]bool{}
	shares := false
	for i, m := range container.Mounts {
		at := fmt.Sprintf("service.container.mounts[%d]", i)
		if !clean(m.Destination) || m.Destination == "/" || seen[m.Destination] {
			c.refuse(at+".destination", "write an absolute path, once", "%q can't be mounted at", m.Destination)
		}
		seen[m.Destination] = true
		if m.Type != "bind" || !clean(m.Source) || m.Source == "/" {
			c.refuse(at, "bind a directory of the node", "type %q with source %q", m.Type, m.Source)
		}
		if !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
			c.refuse(at+".options", "add bind or rbind", "without it runc mounts nothing")
		}
		shares = shares || shared(m)
		if slices.Contains(m.Options, "shared") {
			c.refuse(at+".options", "write rshared", "a FUSE mount below a mount would not reach the node")
		}
	}
	// Seen on Talos 1.13: only both together let a mount out.
	if propagation := container.Security.RootfsPropagation; shares != (propagation == "shared") {
		c.refuse("service.container.security.rootfsPropagation", "write shared and mount with rshared, or neither",
			"%q: a mount of the service would not reach the node", propagation)
	}
}

func shared(m specs.Mount) bool { return slices.Contains(m.Options, "rshared") }

func clean(p string) bool { return path.IsAbs(p) && path.Clean(p) == p }

// atBoot are the services that every node has and that come up without a
// network, a clock or a cluster. Talos waits with its boot for what an
// extension's service depends on.
func atBoot() []string { return []string{"containerd", "cri", "machined", "syslogd", "udevd"} }

// depends: nothing in it may be something that never comes.
func (c *checker) depends(spec services.Spec) {
	cri := false
	for i, d := range spec.Depends {
		at := fmt.Sprintf("service.depends[%d]", i)
		cri = cri || d.Service == "cri"
		if d.Configuration {
			c.refuse(at+".configuration", "remove it; the service waits by itself", "a node without the document would never finish its boot")
		}
		if d.Time {
			c.refuse(at+".time", "remove it", "a node that reaches no time server would never finish its boot")
		}
		if d.Path != "" {
			c.refuse(at+".path", "remove it; the service waits by itself", "a node on which %s doesn't come would never finish its boot", d.Path)
		}
		if d.Service != "" && !slices.Contains(atBoot(), d.Service) {
			c.refuse(at+".service", "use one of "+strings.Join(atBoot(), ", "), "%s isn't there on every node, or waits for the cluster", d.Service)
		}
		for _, status := range []nethelpers.Status{nethelpers.StatusAddresses, nethelpers.StatusConnectivity} {
			if slices.Contains(d.Network, status) {
				c.refuse(at+".network", "remove "+status.String(), "a node whose network is down would never finish its boot")
			}
		}
	}
	needs := slices.ContainsFunc(spec.Container.Mounts, func(m specs.Mount) bool { return within("/var", m.Source) })
	if needs && !cri {
		c.refuse("service.depends", "add service: cri", "a mount from /var, which is there only when cri is")
	}
}
