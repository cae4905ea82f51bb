package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// program that runs.
type program struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// startProgram starts one that dies with this process at the latest.
func startProgram(logPath, dir, path string, args ...string) (*program, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	p := &program{cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error)

	go func() {
		// Pdeathsig counts from the end of the thread that started the program,
		// which so must live as long as it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		err := p.cmd.Start()
		started <- err

		if err == nil {
			_ = p.cmd.Wait()
		}

		close(p.exited)
	}()

	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}

	return p, nil
}

// stop ends the program and waits for that.
func (p *program) stop() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}
