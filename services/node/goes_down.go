package node

import (
	"fmt"
	"os"
	"path/filepath"
)

// goingDown is made by antler-going-down.service or, on Talos, by its service, and
// gone after a reboot.
const goingDown = "going-down"

// GoesDown reports whether this machine is being shut down or rebooted in order,
// and not only antlerd. run is its volatile directory.
func GoesDown(run string) bool {
	_, err := os.Stat(filepath.Join(run, goingDown))

	return err == nil
}

// SayGoesDown tells antlerd so.
func SayGoesDown(run string) error {
	err := os.WriteFile(filepath.Join(run, goingDown), nil, 0o600)
	if err != nil {
		return fmt.Errorf("tell antlerd that this machine goes down: %w", err)
	}

	return nil
}
