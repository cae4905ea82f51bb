// Command agent is the lab's client inside a guest: it works on a MooseFS mount
// and tells the host each call and each answer over a virtio-serial port, as
// they happen, so that the record survives the guest.
//
//	agent work DIR SEED N T [mixed]   N workers, until SIGTERM, that pause up to T after each operation
//	agent walk DIR PATH=N...          tell everything that is there, and apart the first N bytes of PATH
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"antler/qemu-tests/lab/history"
)

const portDir = "/sys/class/virtio-ports"

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	host, err := openHost()
	if err != nil {
		return err
	}

	switch {
	case len(args) == 5 && args[0] == "work":
		return work(host, args[1], args[2], args[3], args[4], false)
	case len(args) == 6 && args[0] == "work" && args[5] == "mixed":
		return work(host, args[1], args[2], args[3], args[4], true)
	case len(args) >= 2 && args[0] == "walk":
		heads, err := parseHeads(args[2:])
		if err != nil {
			return err
		}

		return walk(host, args[1], heads)
	}

	return errors.New("usage: agent work DIR SEED WORKERS THINK [mixed] | walk DIR [PATH=N...]")
}

// host is the way out of the guest.
type host struct {
	mu   sync.Mutex
	port *os.File
}

// openHost finds the port by its name, which udev may not have linked.
func openHost() (*host, error) {
	ports, err := filepath.Glob(portDir + "/*/name")
	if err != nil {
		return nil, err
	}

	for _, name := range ports {
		content, _ := os.ReadFile(name)
		if string(content) != "antler.lab\n" {
			continue
		}

		port, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("open the port to the host: %w", err)
		}

		return &host{port: port}, nil
	}

	return nil, errors.New("there is no port to the host")
}

func (h *host) tell(message history.Message) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()

	_, err = h.port.Write(append(line, '\n'))

	return err
}

func work(h *host, dir, seed, workers, think string, mixed bool) error {
	base, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return fmt.Errorf("seed %q: %w", seed, err)
	}

	count, err := strconv.Atoi(workers)
	if err != nil {
		return fmt.Errorf("number of workers %q: %w", workers, err)
	}

	pause, err := time.ParseDuration(think)
	if err != nil {
		return fmt.Errorf("time to think %q: %w", think, err)
	}

	if mixed {
		err = os.MkdirAll(sharedDir(dir), 0o755)
		if err != nil {
			return err
		}
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)

	stopped := make(chan struct{})

	go func() {
		<-stop
		close(stopped)
	}()

	var (
		group sync.WaitGroup
		ids   counter
	)

	for n := range count {
		group.Go(func() { newWorker(h, dir, base, n, &ids, mixed).run(stopped, pause) })
	}

	group.Wait()

	return h.tell(history.Message{End: "work"})
}

func parseHeads(args []string) (map[string]int, error) {
	heads := map[string]int{}

	for _, arg := range args {
		path, size, _ := strings.Cut(arg, "=")

		n, err := strconv.Atoi(size)
		if err != nil {
			return nil, fmt.Errorf("%q is not PATH=N: %w", arg, err)
		}

		heads[path] = n
	}

	return heads, nil
}

func walk(h *host, dir string, heads map[string]int) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(dir, path)
		entry := history.Entry{Path: relative, Dir: d != nil && d.IsDir()}

		if err != nil {
			entry.Err = err.Error()

			return h.tell(history.Message{Entry: &entry})
		}

		if !entry.Dir {
			content, readErr := os.ReadFile(path)
			entry.Hash, entry.Xattr = history.Hash(content), attribute(path)

			if n, asked := heads[relative]; asked {
				entry.Head = history.Hash(content[:min(n, len(content))])
			}

			if readErr != nil {
				entry.Err = readErr.Error()
			}
		}

		return h.tell(history.Message{Entry: &entry})
	})
	if err != nil {
		return err
	}

	return h.tell(history.Message{End: "walk"})
}

// attribute is the hash of its value, "" where there is none.
func attribute(path string) string {
	value := make([]byte, 256)

	n, err := unix.Getxattr(path, history.Attribute, value)
	if err != nil {
		return ""
	}

	return history.Hash(value[:n])
}
