package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Console is a machine's serial console: what it printed since it was made,
// across power cuts, and a root shell to type at.
type Console struct {
	mu      sync.Mutex
	changed chan struct{}
	lines   []ConsoleLine
	partial string
	conn    net.Conn
	serial  int
}

// ConsoleLine is a line with the host's time at which it was complete.
type ConsoleLine struct {
	At   time.Time
	Text string
}

func newConsole() *Console { return &Console{changed: make(chan struct{})} }

func (c *Console) attach(conn net.Conn) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()

	go func() {
		buffer := make([]byte, 4096)

		for {
			n, err := conn.Read(buffer)
			c.add(string(buffer[:n]))

			if err != nil {
				return
			}
		}
	}()
}

func (c *Console) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	parts := strings.Split(c.partial+strings.ReplaceAll(text, "\r", ""), "\n")
	for _, line := range parts[:len(parts)-1] {
		c.lines = append(c.lines, ConsoleLine{At: time.Now(), Text: line})
	}

	c.partial = parts[len(parts)-1]
	close(c.changed)
	c.changed = make(chan struct{})
}

// kernelFault reports whether the kernel says on the line that it found itself broken.
func kernelFault(line string) bool {
	for _, sign := range []string{"Internal error: Oops", "Kernel panic - ", "kernel BUG at ", "WARNING: CPU:", "BUG: KASAN", "BUG: kernel NULL pointer", "BUG: unable to handle"} {
		if strings.Contains(line, sign) {
			return true
		}
	}

	return false
}

// Lines returns everything printed from line number from on.
func (c *Console) Lines(from int) []ConsoleLine {
	c.mu.Lock()
	defer c.mu.Unlock()

	return append([]ConsoleLine(nil), c.lines[min(from, len(c.lines)):]...)
}

// Tail returns the last n lines.
func (c *Console) Tail(n int) []ConsoleLine {
	lines := c.Lines(0)

	return lines[max(0, len(lines)-n):]
}

// Len is the number of lines so far: a place to wait from.
func (c *Console) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()

	return len(c.lines)
}

// Wait returns the first line after line number from for which match is true.
func (c *Console) Wait(ctx context.Context, from int, match func(string) bool) (ConsoleLine, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		lines := c.lines[min(from, len(c.lines)):]
		c.mu.Unlock()

		for _, line := range lines {
			if match(line.Text) {
				return line, nil
			}
		}

		from += len(lines)

		select {
		case <-ctx.Done():
			return ConsoleLine{}, ctx.Err()
		case <-changed:
		}
	}
}

// CommandBegins is in the line that Run has printed right before a command.
const CommandBegins = "lab-begin-"

// Run types a command at the root shell, waits for its end and returns what
// was printed meanwhile and the exit status as an error.
func (c *Console) Run(ctx context.Context, command string) (string, error) {
	c.mu.Lock()
	c.serial++
	serial, conn, from := c.serial, c.conn, len(c.lines)
	c.mu.Unlock()

	if conn == nil {
		return "", errors.New("the machine was never on")
	}

	begin, end := fmt.Sprintf("%s%d", CommandBegins, serial), fmt.Sprintf("lab-end-%d", serial)

	// The shell must join the marks, so that the echo isn't taken for them. The second
	// line is typed when the terminal echoes no more: its echo would stand anywhere in
	// the output.
	_, err := fmt.Fprintf(conn, "stty -echo; echo lab-''begin-%d; %s\n", serial, command)
	if err == nil {
		_, err = c.Wait(ctx, from, func(text string) bool { return strings.Contains(text, begin) })
	}

	if err == nil {
		_, err = fmt.Fprintf(conn, "echo lab-''end-%d $?\n", serial)
	}

	if err != nil {
		return "", fmt.Errorf("type %q at the console: %w", command, err)
	}

	last, err := c.Wait(ctx, from, func(text string) bool { return strings.Contains(text, end+" ") })
	if err != nil {
		return "", fmt.Errorf("console: %q did not end: %w", command, err)
	}

	output := between(c.Lines(from), begin, end)

	if !strings.HasSuffix(last.Text, end+" 0") {
		return output, fmt.Errorf("console: %q failed: %s: %s", command, last.Text, output)
	}

	return output, nil
}

// between returns what was printed between the marks.
func between(lines []ConsoleLine, begin, end string) string {
	var b strings.Builder

	inside := false

	for _, line := range lines {
		switch {
		case strings.Contains(line.Text, begin):
			inside = true
		case strings.Contains(line.Text, end+" "):
			return b.String()
		case inside:
			b.WriteString(line.Text + "\n")
		}
	}

	return b.String()
}

// dialUntil connects to a unix socket that QEMU is about to open.
func dialUntil(path string, deadline time.Time, gone <-chan struct{}) (net.Conn, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()

	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}

		if time.Now().After(deadline) {
			return nil, err
		}

		select {
		case <-gone:
			return nil, fmt.Errorf("QEMU ended: %w", os.ErrProcessDone)
		case <-ticker.C:
		}
	}
}
