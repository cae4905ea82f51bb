package gen

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// TalosDRBD is the DRBD that a Talos node has.
type TalosDRBD string

// The two there are.
const (
	// TalosDRBD9 comes with Talos's own drbd extension, which the official
	// kernel needs: it takes no module that was not built with it.
	TalosDRBD9 TalosDRBD = "9"
	// TalosDRBD84 is of a kernel of one's own, and comes with our extension.
	TalosDRBD84 TalosDRBD = "8.4"
)

// talosService is the extension's name, and that of its document.
const talosService = "antler"

// talosHelper is DRBD's handler as the node's kernel finds it.
const talosHelper = "/usr/local/lib/containers/" + talosService + "/usr/bin/antler-fence"

// talosModule and the types below are the part of Talos's configuration that is
// written here; Talos's own types come with all of its dependencies, and are
// what the tests hold this against.
type talosModule struct {
	Name       string   `yaml:"name"`
	Parameters []string `yaml:"parameters,omitempty"`
}

type talosMachine struct {
	Machine struct {
		Kernel  *talosKernel      `yaml:"kernel,omitempty"`
		Sysctls map[string]string `yaml:"sysctls"`
	} `yaml:"machine"`
}

type talosKernel struct {
	Modules []talosModule `yaml:"modules"`
}

type talosFile struct {
	Content   string `yaml:"content"`
	MountPath string `yaml:"mountPath"`
}

type talosServiceConfig struct {
	APIVersion  string      `yaml:"apiVersion"`
	Kind        string      `yaml:"kind"`
	Name        string      `yaml:"name"`
	ConfigFiles []talosFile `yaml:"configFiles"`
}

// TalosPatches are two patches of a node's Talos machine configuration. They are
// two because Talos adds the modules of a patch to those that are there: a second
// time they would be there twice. Service can be applied again and again, and is
// when certificates are renewed.
type TalosPatches struct {
	// Machine is what the machine needs.
	Machine []byte
	// Service is the ExtensionServiceConfig document with the node's whole
	// configuration.
	Service []byte
}

// NewTalosPatches makes the patches of a node. `talosctl patch mc --patch @FILE`
// takes them as they are.
func NewTalosPatches(node *config.Config, drbd TalosDRBD) (TalosPatches, error) {
	err := validateTalos(node)
	if err != nil {
		return TalosPatches{}, err
	}

	modules, err := talosModules(node.Self(), drbd)
	if err != nil {
		return TalosPatches{}, err
	}

	var machine talosMachine

	if len(modules) > 0 {
		machine.Machine.Kernel = &talosKernel{modules}
	}

	// mfsmaster forks to write its metadata: without this the fork fails as soon
	// as metadata takes more than half of the memory.
	// And requests that come to a new master too early are sent again each 0.2 s,
	// SYNs each 0.1 s, instead of after pauses that double (address.Door, moosefs.Hastener).
	machine.Machine.Sysctls = map[string]string{
		"vm.overcommit_memory": "1", "net.ipv4.tcp_thin_linear_timeouts": "1", "net.ipv4.tcp_syn_linear_timeouts": "20",
	}

	content, err := yaml.Marshal(node)
	if err != nil {
		return TalosPatches{}, fmt.Errorf("encode the configuration of %s: %w", node.Node.Name, err)
	}

	var out TalosPatches

	out.Service, err = yaml.Marshal(talosServiceConfig{
		APIVersion: "v1alpha1", Kind: "ExtensionServiceConfig", Name: talosService,
		ConfigFiles: []talosFile{{Content: string(content), MountPath: config.DefaultPath}},
	})
	if err == nil {
		out.Machine, err = yaml.Marshal(machine)
	}

	if err != nil {
		return TalosPatches{}, fmt.Errorf("encode the machine configuration of %s: %w", node.Node.Name, err)
	}

	return out, nil
}

// talosModules are those that Talos loads, since no extension service may.
func talosModules(self config.Member, drbd TalosDRBD) ([]talosModule, error) {
	if !self.Has(config.RoleMetadata) {
		return nil, nil
	}

	switch drbd {
	case TalosDRBD9:
		// DRBD freezes by its quorum option there and calls nobody: services/replication.
		return []talosModule{
			{Name: "drbd", Parameters: []string{"usermode_helper=disabled"}},
			{Name: "drbd_transport_tcp"},
		}, nil
	case TalosDRBD84:
		return []talosModule{{Name: "drbd", Parameters: []string{"usermode_helper=" + talosHelper, "minor_count=4"}}}, nil
	}

	return nil, fmt.Errorf("DRBD %s is not known: use %s or %s", drbd, TalosDRBD9, TalosDRBD84)
}

// validateTalos refuses what a node's configuration says about a machine that is
// Talos's.
func validateTalos(node *config.Config) error {
	var problems config.Problems

	refuse := func(path, reason, hint string) {
		problems = append(problems, config.Problem{Path: node.Node.Name + "." + path, Reason: reason, Hint: hint})
	}

	if n := node.Node.Network; n.MAC != "" || n.Interface != "" {
		refuse("network", "on Talos the network is Talos's", "remove it here, and write it in the machine configuration")
	}

	if node.Node.K3s.Enabled() {
		refuse("k3s", "Talos has a Kubernetes of its own", "remove it")
	}

	if node.Node.Debug.ConsoleShell {
		refuse("debug.consoleShell", "Talos has no shell", "remove it")
	}

	for i, store := range node.Node.Chunks {
		if store.Path != "" && !strings.HasPrefix(store.Path, config.StateDir+"/") {
			refuse(fmt.Sprintf("chunks[%d].path", i), store.Path+" is not among what the service sees of a Talos node",
				"write one below "+config.StateDir+", or a device")
		}
	}

	if len(problems) == 0 {
		return nil
	}

	return problems
}

// CheckTalos returns why the nodes can't be Talos nodes, or nil.
func (f *Files) CheckTalos(drbd TalosDRBD) error {
	_, err := f.talosPatches(drbd)

	return err
}

// talosPatches of all nodes; what is wrong is told of all of them at once.
func (f *Files) talosPatches(drbd TalosDRBD) ([]TalosPatches, error) {
	var (
		all     config.Problems
		patches []TalosPatches
	)

	for _, node := range f.Nodes {
		patch, err := NewTalosPatches(node, drbd)

		var problems config.Problems
		if err != nil && !errors.As(err, &problems) {
			return nil, err
		}

		all = append(all, problems...)
		patches = append(patches, patch)
	}

	if len(all) > 0 {
		return nil, all
	}

	return patches, nil
}

// WriteTalos writes the patches of all nodes into dir, which is there, and
// returns their paths. They hold keys and are readable by their owner only.
func (f *Files) WriteTalos(dir string, drbd TalosDRBD) ([]string, error) {
	patches, err := f.talosPatches(drbd)
	if err != nil {
		return nil, err
	}

	var written []string

	for i, node := range f.Nodes {
		for _, file := range []struct {
			name    string
			content []byte
		}{
			{node.Node.Name + ".talos-machine.yaml", patches[i].Machine},
			{node.Node.Name + ".talos-service.yaml", patches[i].Service},
		} {
			path := filepath.Join(dir, file.name)

			err = writeFile(path, file.content)
			if err != nil {
				return written, err
			}

			written = append(written, path)
		}
	}

	return written, nil
}
