package node

import (
	"bytes"
	"context"
	"os/exec"
	"time"
)

// answerTime is what systemd gets to say what it is doing.
const answerTime = 2 * time.Second

// GoesDown reports whether this machine is being shut down or rebooted in order.
// Where there is no systemd to ask it isn't known, and false.
func GoesDown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()

	// It exits with 1 for every state but "running": systemctl(1).
	state, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output()

	return string(bytes.TrimSpace(state)) == "stopping"
}
