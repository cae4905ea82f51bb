package node

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Resident is a Loader that loads nothing: on Talos only Talos does. It says what
// is missing.
type Resident struct {
	// SysModule is /sys/module, Builtin the kernel's modules.builtin.
	SysModule, Builtin string
	// OnDemand are the modules that the kernel loads itself when they are first used.
	OnDemand []string
}

// Load implements Loader.
func (r Resident) Load(_ context.Context, module string, parameters ...string) error {
	if slices.Contains(r.OnDemand, module) {
		return nil
	}

	_, err := os.Stat(filepath.Join(r.SysModule, module))
	if err == nil {
		return nil
	}

	builtin, err := builtIn(r.Builtin, module)
	if err != nil || builtin {
		return err
	}

	with := ""
	if len(parameters) > 0 {
		with = " with the parameters " + strings.Join(parameters, " ")
	}

	return fmt.Errorf("kernel module %s is not loaded: add it to machine.kernel.modules of this node's machine configuration%s", module, with)
}

// builtIn reports whether the kernel has the module without a file of its own.
func builtIn(list, module string) (bool, error) {
	file, err := os.Open(list)
	if err != nil {
		return false, fmt.Errorf("look whether kernel module %s is built in: %w", module, err)
	}
	defer file.Close()

	lines := bufio.NewScanner(file)
	for lines.Scan() {
		name, _, _ := strings.Cut(filepath.Base(lines.Text()), ".ko")
		if strings.ReplaceAll(name, "-", "_") == module {
			return true, nil
		}
	}

	return false, lines.Err()
}
