package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"antler/qemu-tests/lab/history"
)

// recordPort is the virtio-serial port over which the agent in a guest tells
// what its clients were told. All that came is kept, and on disk as well.
type recordPort struct {
	file *os.File

	mu       sync.Mutex
	changed  chan struct{}
	messages []history.Message
	// begun is when the host heard of each operation.
	begun map[int]int64
}

func newRecordPort(path string) (*recordPort, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("keep the record: %w", err)
	}

	return &recordPort{file: file, changed: make(chan struct{}), begun: map[int]int64{}}, nil
}

func (p *recordPort) attach(conn net.Conn) {
	go func() {
		lines := bufio.NewScanner(conn)
		lines.Buffer(nil, 1<<20)

		for lines.Scan() {
			var message history.Message

			// A guest that loses its power in mid-line leaves half of one.
			if json.Unmarshal(lines.Bytes(), &message) == nil {
				p.add(message)
			}

			fmt.Fprintf(p.file, "%s %s\n", time.Now().Format(time.RFC3339Nano), lines.Bytes())
		}
	}()
}

func (p *recordPort) add(message history.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if message.Op != nil {
		p.stamp(message.Op, time.Now())
	}

	p.messages = append(p.messages, message)
	close(p.changed)
	p.changed = make(chan struct{})
}

// stamp the operation with the host's time: guests' clocks stand still while their
// machine does, and some are set. The lock is held.
func (p *recordPort) stamp(op *history.Op, now time.Time) {
	if !op.Done {
		p.begun[op.ID] = now.UnixNano()
	} else {
		op.End = now.UnixNano()
	}

	op.Start = p.begun[op.ID]
}

// from returns what came after the first n messages, and a channel that is
// closed when there is more.
func (p *recordPort) from(n int) ([]history.Message, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()

	return append([]history.Message(nil), p.messages[min(n, len(p.messages)):]...), p.changed
}

func (p *recordPort) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()

	return len(p.messages)
}

// wait returns the messages from n on, up to the first for which done is true.
func (p *recordPort) wait(ctx context.Context, n int, done func(history.Message) bool) ([]history.Message, error) {
	for {
		messages, changed := p.from(n)

		for i, message := range messages {
			if done(message) {
				return messages[:i+1], nil
			}
		}

		select {
		case <-ctx.Done():
			return messages, ctx.Err()
		case <-changed:
		}
	}
}

// Workload is clients at work on a machine, in a directory of their own.
type Workload struct {
	machine *Machine
	dir     string
	// first message of this workload on the machine's port, and the first that is
	// no longer of it; 0 while it may go on.
	first, until int
}

// ProgramDir is where a machine has the agent and the programs of Options.
const ProgramDir = "/run/lab"

const agent = ProgramDir + "/agent"

// Load is how hard a workload works.
type Load struct {
	// Workers do one operation after another, each for itself.
	Workers int
	// Think is the most that a worker pauses after an operation: it pauses as long as
	// that took. With 0 the workers take all that the machines have to give, and
	// three emulated ones have nothing left then to keep a lease of 2.8 s with.
	Think time.Duration
	// Mixed: they also overwrite, make larger files, set attributes, and claim names that
	// all clients of the same file system share.
	Mixed bool
}

// AtEase leaves the machines up to half of their time.
func AtEase() Load { return Load{Workers: 2, Think: time.Second} }

// Work starts workers in dir of the machine.
func (m *Machine) Work(ctx context.Context, dir string, seed uint64, load Load) (*Workload, error) {
	w := &Workload{machine: m, dir: dir, first: m.records.count()}

	mixed := ""
	if load.Mixed {
		mixed = "mixed"
	}

	_, err := m.console.Run(ctx, fmt.Sprintf("mkdir -p %s && (%s work %s %d %d %s %s >/dev/null 2>&1 & echo $! > /run/workload.pid)", dir, agent, dir, seed, load.Workers, load.Think, mixed))
	if err != nil {
		return nil, fmt.Errorf("start the workload on %s: %w", m.Name, err)
	}

	return w, nil
}

// Follow is Work for workers that somebody else starts on the machine, with
// "agent work": their files will be in dir. Stop is not for them.
func (m *Machine) Follow(dir string) *Workload {
	return &Workload{machine: m, dir: dir, first: m.records.count()}
}

// Ops returns the record so far, in the host's time: each operation once, with
// its answer if there was one.
func (w *Workload) Ops() []history.Op {
	messages, _ := w.machine.records.from(w.first)
	if w.until > 0 {
		messages = messages[:w.until-w.first]
	}

	var ops []history.Op

	index := map[int]int{}

	for _, message := range messages {
		if message.Op == nil {
			continue
		}

		op := *message.Op

		if i, known := index[op.ID]; known {
			ops[i] = op

			continue
		}

		index[op.ID] = len(ops)
		ops = append(ops, op)
	}

	return ops
}

// AwaitAcknowledged waits until n operations that began after since were
// acknowledged.
func (w *Workload) AwaitAcknowledged(ctx context.Context, since time.Time, n int) error {
	// The same record is looked at again whenever others have come.
	acknowledged := map[int]bool{}

	_, err := w.machine.records.wait(ctx, w.first, func(m history.Message) bool {
		if m.Op != nil && m.Op.Acknowledged() && m.Op.Start > since.UnixNano() {
			acknowledged[m.Op.ID] = true
		}

		return len(acknowledged) >= n
	})
	if err != nil {
		return fmt.Errorf("wait for %d acknowledged operations on %s, %d so far: %w", n, w.machine.Name, len(acknowledged), err)
	}

	return nil
}

// Stop ends the workers after their current operation.
func (w *Workload) Stop(ctx context.Context) error {
	_, err := w.machine.console.Run(ctx, "kill -TERM $(cat /run/workload.pid)")
	if err != nil {
		return fmt.Errorf("stop the workload: %w", err)
	}

	return w.AwaitEnd(ctx)
}

// AwaitEnd waits until the workers have ended after their current operation.
func (w *Workload) AwaitEnd(ctx context.Context) error {
	_, err := w.machine.records.wait(ctx, w.first, func(m history.Message) bool { return m.End == "work" })
	if err != nil {
		return fmt.Errorf("wait for the workload to end: %w", err)
	}

	return nil
}

// Machine on which the workload is.
func (w *Workload) Machine() *Machine { return w.machine }

// Over says that the machine went down under the workload: whatever comes from it
// afterwards is another one's.
func (w *Workload) Over() { w.until = w.machine.records.count() }

// Alive reports whether the workers still run.
func (w *Workload) Alive(ctx context.Context) bool {
	_, err := w.machine.console.Run(ctx, "kill -0 $(cat /run/workload.pid)")

	return err == nil
}

// abandonTime is for typing a command, not for what it ends.
const abandonTime = 10 * time.Second

// Abandon ends the workers wherever they are, so that a failed test leaves the
// next one a free machine.
func (w *Workload) Abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), abandonTime)
	defer cancel()

	_, _ = w.machine.console.Run(ctx, "kill -KILL $(cat /run/workload.pid); true")
}

// AwaitGone waits until no worker is left: one that waits for its mount outlives even
// SIGKILL, and the next workload needs its way to the host.
func (w *Workload) AwaitGone(ctx context.Context) error {
	_, err := w.machine.console.Run(ctx, "while kill -0 $(cat /run/workload.pid) 2>/dev/null; do sleep 1; done")

	return err
}

// Check reads everything back on the machine on, and holds it against what was
// acknowledged.
func (w *Workload) Check(ctx context.Context, on *Machine, faults ...history.Window) (history.Result, error) {
	err := on.writeHeads(ctx, history.Heads(w.Ops()))
	if err != nil {
		return history.Result{}, fmt.Errorf("read back on %s: %w", on.Name, err)
	}

	first := on.records.count()

	_, err = on.console.Run(ctx, fmt.Sprintf("%s walk %s $(cat %s)", agent, w.dir, headsFile))
	if err != nil {
		return history.Result{}, fmt.Errorf("read back on %s: %w", on.Name, err)
	}

	messages, err := on.records.wait(ctx, first, func(m history.Message) bool { return m.End == "walk" })
	if err != nil {
		return history.Result{}, fmt.Errorf("read back on %s: %w", on.Name, err)
	}

	var found []history.Entry

	for _, message := range messages {
		if message.Entry != nil && message.Entry.Path != "." {
			found = append(found, *message.Entry)
		}
	}

	result := history.Check(w.Ops(), found, faults...)
	if result.Acknowledged == 0 {
		return result, errors.New("nothing was acknowledged: there is nothing to check")
	}

	return result, nil
}

// headsFile is what the agent is asked for of single files, as PATH=N.
const headsFile = "/run/workload.heads"

// writeHeads types as much at a time as a terminal takes in a line.
func (m *Machine) writeHeads(ctx context.Context, sizes map[string]int) error {
	const atATime = 50

	_, err := m.console.Run(ctx, ": > "+headsFile)

	for paths := range slices.Chunk(slices.Sorted(maps.Keys(sizes)), atATime) {
		if err != nil {
			return err
		}

		line := "echo"
		for _, path := range paths {
			line += fmt.Sprintf(" %s=%d", path, sizes[path])
		}

		_, err = m.console.Run(ctx, line+" >> "+headsFile)
	}

	return err
}
