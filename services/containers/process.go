package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a handle on the first process of a container. It is a pidfd, which
// names that process and never a later one with the same number.
type process struct {
	pid int
	fd  *os.File
	// done is closed when the process has ended.
	done chan struct{}
}

// errNoProcess: the process is gone, or the number belongs to another.
var errNoProcess = errors.New("no such process in the container")

// openProcess takes hold of pid, if it is in the cgroup of the container.
func openProcess(pid int, group string) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errNoProcess
	}

	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}

	p := &process{pid: pid, fd: os.NewFile(uintptr(fd), "pidfd:"+strconv.Itoa(pid)), done: make(chan struct{})}

	// After the handle is open, the number can't change hands unseen: if the
	// process in our cgroup has this number now, the handle is that process.
	inside, err := inCgroup(pid, group)
	if err != nil || !inside {
		p.fd.Close()

		return nil, errors.Join(err, errNoProcess)
	}

	go p.watch()

	return p, nil
}

// watch waits for the end: a pidfd becomes readable then.
func (p *process) watch() {
	defer close(p.done)

	conn, err := p.fd.SyscallConn()
	if err != nil {
		return
	}

	_ = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)

		return err == nil && n > 0
	})
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends signal; a process that is gone is no error.
func (p *process) signal(signal syscall.Signal) error {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}

	var sent error

	err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}

	err = errors.Join(err, sent)
	if err != nil {
		return fmt.Errorf("send %s to process %d: %w", signal, p.pid, err)
	}

	return nil
}

// inCgroup says whether pid is in the container's own group (and not in a group
// whose name only begins like it).
func inCgroup(pid int, group string) (bool, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, nil
	}

	if err != nil {
		return false, fmt.Errorf("read the cgroup of process %d: %w", pid, err)
	}

	for line := range strings.Lines(string(text)) {
		_, path, _ := strings.Cut(line, "/")
		if "/"+strings.TrimSpace(path) == group {
			return true, nil
		}
	}

	return false, nil
}

// populated says whether any process is in the cgroup.
func populated(group string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}

	if err != nil {
		return false, fmt.Errorf("look into cgroup %s: %w", group, err)
	}

	return strings.Contains(string(text), "populated 1"), nil
}

// killCgroup sends SIGKILL to everything in the cgroup, in one step and
// whatever forks meanwhile. A group that isn't there holds nobody.
func killCgroup(group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("kill cgroup %s: %w", group, err)
	}

	return nil
}

// endsWithin waits for the end of the process.
func (p *process) endsWithin(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()

	select {
	case <-p.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}

	return !p.alive()
}
