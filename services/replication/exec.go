package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Programs is the Runner that executes real programs.
type Programs struct{}

// Run implements Runner.
func (Programs) Run(ctx context.Context, command ...string) (string, error) {
	var stdout, stderr bytes.Buffer

	cmd := program(ctx, command)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr

	err := cmd.Run()

	return stdout.String(), commandError(command, stderr.String(), err)
}

// Follow implements Runner.
func (Programs) Follow(ctx context.Context, line func(string), command ...string) error {
	// The program has to end with antlerd, however that ends; the kernel does it
	// when the thread that started the program ends, so it is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var stderr bytes.Buffer

	cmd := program(ctx, command)
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}

	err = cmd.Start()
	if err != nil {
		return commandError(command, "", err)
	}

	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		line(lines.Text())
	}

	return commandError(command, stderr.String(), cmd.Wait())
}

// program gives every command the same surroundings: messages are matched.
func program(ctx context.Context, command []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")

	return cmd
}

func commandError(command []string, output string, err error) error {
	if err == nil {
		return nil
	}

	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return &CommandError{Command: command, Code: exited.ExitCode(), Output: output}
	}

	return &CommandError{Command: command, Code: -1, Output: err.Error()}
}
