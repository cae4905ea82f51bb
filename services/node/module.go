package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/node/config"
	"antler/services/resources"
)

// ModuleStatusType is the type of ModuleStatus.
const ModuleStatusType = resource.Type("ModuleStatuses.antler")

// ModuleStatus says of one kernel module whether it is there as needed.
type ModuleStatus = typed.Resource[ModuleStatusSpec, ModuleStatusExtension]

// NewModuleStatus returns the status of the module called id.
func NewModuleStatus(id resource.ID) *ModuleStatus {
	return typed.NewResource[ModuleStatusSpec, ModuleStatusExtension](
		resources.Metadata(ModuleStatusType, id), ModuleStatusSpec{})
}

// ModuleStatusSpec is the state of a kernel module.
type ModuleStatusSpec struct {
	Loaded bool   `yaml:"loaded"`
	Error  string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ModuleStatusSpec) DeepCopy() ModuleStatusSpec { return s }

// ModuleStatusExtension defines the type for COSI.
type ModuleStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ModuleStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ModuleStatusType, "module")
}

// Loader puts a kernel module in.
type Loader interface {
	// Load returns nil when the module is in the kernel, loaded now or before.
	Load(ctx context.Context, module string, parameters ...string) error
}

// ModuleController loads the kernel modules that this node's roles need, and
// sees to it that DRBD calls our handler.
type ModuleController struct {
	Loader Loader
	// SysModule is /sys/module but in tests; Helper is what the kernel
	// executes as DRBD's usermode helper.
	SysModule string
	Helper    string
	// Helpless reports whether the DRBD that was loaded needs no helper; nil
	// stands for one that does.
	Helpless func() bool
}

// Name implements controller.Controller.
func (*ModuleController) Name() string { return "node.ModuleController" }

// Inputs implements controller.Controller.
func (*ModuleController) Inputs() []controller.Input {
	return []controller.Input{resources.Input(ConfigType, ConfigID)}
}

// Outputs implements controller.Controller.
func (*ModuleController) Outputs() []controller.Output {
	return []controller.Output{{Type: ModuleStatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *ModuleController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		cfg, err := safe.ReaderGetByID[*NodeConfig](ctx, r, ConfigID)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}

		for _, module := range c.needed(cfg.TypedSpec().Self()) {
			loadErr := c.ensure(ctx, module)
			if loadErr != nil {
				logger.Warn("kernel module is missing", zap.String("module", module.name), zap.Error(loadErr))
			}

			err = safe.WriterModify(ctx, r, NewModuleStatus(module.name), func(status *ModuleStatus) error {
				status.TypedSpec().Loaded = loadErr == nil
				status.TypedSpec().Error = errorText(loadErr)

				return nil
			})
			if err != nil {
				return fmt.Errorf("report module %q: %w", module.name, err)
			}
		}

		r.ResetRestartBackoff()
	}
}

// module is a kernel module with the parameters it is loaded with.
type module struct {
	name       string
	parameters map[string]string
}

func (c *ModuleController) needed(self config.Member) []module {
	modules := []module{
		// tcp_diag lets stale connections to the floating address be ended.
		{name: "tcp_diag"},
		{name: "vsock"},
		{name: "fuse"},
	}

	if self.Has(config.RoleMetadata) {
		modules = append(modules, module{
			name: "drbd",
			// One minor is all we use; the helper is the fence-peer handler.
			parameters: map[string]string{"usermode_helper": c.Helper, "minor_count": "4"},
		})
	}

	return modules
}

func (c *ModuleController) ensure(ctx context.Context, m module) error {
	var arguments []string

	for key, value := range m.parameters {
		arguments = append(arguments, key+"="+value)
	}

	err := c.Loader.Load(ctx, m.name, arguments...)
	if err != nil {
		return err
	}

	helper, wanted := m.parameters["usermode_helper"]
	if !wanted || c.Helpless != nil && c.Helpless() {
		return nil
	}

	return c.setHelper(m.name, helper)
}

// setHelper corrects a module that was loaded by somebody else with another
// helper: without ours the quorum is never asked, and frozen I/O stays frozen.
func (c *ModuleController) setHelper(name, helper string) error {
	path := filepath.Join(c.SysModule, name, "parameters", "usermode_helper")

	current, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read DRBD's handler: %w", err)
	}

	if strings.TrimSpace(string(current)) == helper {
		return nil
	}

	err = os.WriteFile(path, []byte(helper), 0o644)
	if err != nil {
		return fmt.Errorf("make %s DRBD's handler: %w (load drbd with usermode_helper=%s)", helper, err, helper)
	}

	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}

	return err.Error()
}
