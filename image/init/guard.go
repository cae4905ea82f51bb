package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"antler/image/slots"
)

// guardArgument makes this program the guard of a system on trial.
const guardArgument = "guard"

// trialTime is how long a system on trial may run. antlerd gives up earlier and in
// order (services/node/upgrade); the guard is for a system in which nothing of that
// works. It outlives init in the initrd's memory, and init is of the new system as
// well: a kernel that hangs before it comes here waits for somebody to pull the plug.
const trialTime = 20 * time.Minute

// startGuard starts it, and says where it is for whoever ends it.
func startGuard() error {
	guard, err := os.StartProcess("/init", []string{"/init", guardArgument}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return fmt.Errorf("start the guard of the trial: %w", err)
	}
	return os.WriteFile(slots.GuardFile, []byte(strconv.Itoa(guard.Pid)), 0o644)
}

// guard resets the machine unless it is ended before.
func guard(after time.Duration, sleep func(time.Duration), reset func() error) {
	sleep(after)
	fmt.Fprintf(os.Stderr, "antler init: the system on trial was not committed within %v: starting the one before\n", after)
	if err := reset(); err != nil {
		fmt.Fprintln(os.Stderr, "antler init: reset:", err)
	}
}

func reset() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }
