package node

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
)

// Modprobe loads modules with the modprobe(8) of the host.
type Modprobe struct{}

// Load implements Loader.
func (Modprobe) Load(ctx context.Context, module string, parameters ...string) error {
	arguments := append([]string{"--", module}, parameters...)

	output, err := exec.CommandContext(ctx, "modprobe", arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("load kernel module %s: %w: %s", module, err, bytes.TrimSpace(output))
	}

	return nil
}
