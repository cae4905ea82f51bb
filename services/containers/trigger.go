package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A spare waits in a shell for a line on a pipe, and then becomes the program:
// of all that a start takes, only an exec is left. runc's own way to hold a
// container back needs one more start of runc to let it go, half a second on
// the smallest machines.
const (
	shell    = "/usr/bin/sh"
	pipeName = "start"
	waitLine = `read -r _ <"$0" && exec "$@"`
)

// waiting are the arguments of a spare that becomes the program; pipe is where
// it finds its pipe.
func waiting(pipe string, args []string) []string {
	return append([]string{shell, "-c", waitLine, pipe}, args...)
}

func (p Places) pipe(id string) string { return filepath.Join(p.etc(id), pipeName) }

// makePipe is the first step of a spare; it can be seen below /etc in there.
func (p Places) makePipe(id string) error {
	err := unix.Mkfifo(p.pipe(id), 0o600)
	if err != nil {
		return fmt.Errorf("make the pipe that a spare waits for: %w", err)
	}

	return nil
}

// pull the trigger: the spare becomes the program. It fails if nothing waits.
func (p Places) pull(id string) error {
	pipe, err := p.openPipe(id)
	if err != nil {
		return err
	}

	_, err = pipe.WriteString("\n")

	return errors.Join(err, pipe.Close())
}

// dismiss makes what waits end, and reports whether anything did. Only the
// kernel knows after antlerd was restarted: a label could not be changed in the
// same moment as the trigger is pulled.
func (p Places) dismiss(id string) (bool, error) {
	pipe, err := p.openPipe(id)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENXIO) {
		return false, nil
	}

	if err != nil {
		return false, err
	}

	// The shell reads the end of the pipe and no line, and goes.
	return true, pipe.Close()
}

// openPipe without waiting; the error is ENXIO if nobody waits at the other end.
func (p Places) openPipe(id string) (*os.File, error) {
	pipe, err := os.OpenFile(p.pipe(id), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pipe that a spare waits for: %w", err)
	}

	return pipe, nil
}
