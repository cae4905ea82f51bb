package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// up starts the process in the background and shows its log until the demo is
// over. Ctrl-C ends both.
func up(ctx context.Context) error {
	if pid := running(); pid != 0 {
		return fmt.Errorf("a demo already runs (process %d): end it with `make demo-stop`", pid)
	}

	err := os.MkdirAll(dir, 0o755)
	if err != nil {
		return err
	}

	log, err := os.Create(path("log"))
	if err != nil {
		return err
	}
	defer log.Close()

	_ = os.Remove(path("done"))

	self, err := os.Executable()
	if err != nil {
		return err
	}

	background := exec.Command(self, "serve")
	background.Stdout, background.Stderr = log, log
	background.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	err = background.Start()
	if err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}

	ended := make(chan error, 1)

	go func() { ended <- background.Wait() }()

	return follow(ctx, background.Process, ended)
}

// follow copies the log to the terminal until the demo says that it is done.
func follow(ctx context.Context, background *os.Process, ended <-chan error) error {
	log, err := os.Open(path("log"))
	if err != nil {
		return err
	}
	defer log.Close()

	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()

	for {
		_, _ = io.Copy(os.Stdout, log)

		select {
		case <-ctx.Done():
			fmt.Println("stopping the machines")

			_ = background.Signal(syscall.SIGTERM)
			<-ended

			return errors.New("interrupted: nothing is left running")
		case <-ended:
			_, _ = io.Copy(os.Stdout, log)

			return fmt.Errorf("the demo failed, and its machines were ended; consoles and logs are in %s", dir)
		case <-ticker.C:
		}

		if _, err = os.Stat(path("done")); err == nil {
			_, _ = io.Copy(os.Stdout, log)

			return nil
		}
	}
}

// running returns the process of a demo that was left running, or 0. The pid
// may be somebody else's by now, so its command line is looked at.
func running() int {
	content, err := os.ReadFile(path("pid"))
	if err != nil {
		return 0
	}

	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}

	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.HasSuffix(string(cmdline), "demo\x00serve\x00") {
		return 0
	}

	return pid
}

func down() error {
	pid := running()
	if pid == 0 {
		fmt.Println("no demo runs")

		return nil
	}

	err := syscall.Kill(pid, syscall.SIGTERM)
	if err != nil {
		return fmt.Errorf("end the demo: %w", err)
	}

	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()

	for range 100 {
		if running() == 0 {
			fmt.Println("the demo's machines are ended; its disks and logs are in", dir)

			return nil
		}

		<-ticker.C
	}

	return fmt.Errorf("process %d doesn't end: kill it, its machines end with it", pid)
}
