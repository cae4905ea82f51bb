package node

import (
	"os"
	"path/filepath"
)

// goingDown is made by antler-going-down.service, and gone after a reboot.
const goingDown = "going-down"

// GoesDown reports whether this machine is being shut down or rebooted in order,
// and not only antlerd. run is its volatile directory.
func GoesDown(run string) bool {
	_, err := os.Stat(filepath.Join(run, goingDown))

	return err == nil
}
