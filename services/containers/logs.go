package containers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"go.uber.org/zap"

	"antler/services/resources"
)

// MaxLogSize bounds NAME.log, and NAME.log.1 beside it: /run is memory.
const MaxLogSize = 1 << 20

// logInterval is how often the sizes are looked at. What a process can write
// in that time comes on top.
const logInterval = 5 * time.Second

// LogController bounds the containers' log files. The shim appends to the file
// for as long as the process lives, so it can't be renamed away: its content
// moves to NAME.log.1 and the file is emptied. A line that is written in
// between is lost.
type LogController struct {
	Dir string
}

// Name implements controller.Controller.
func (*LogController) Name() string { return "containers.LogController" }

// Inputs implements controller.Controller.
func (*LogController) Inputs() []controller.Input {
	return []controller.Input{{
		Namespace: resources.Namespace,
		Type:      ContainerStatusType,
		Kind:      controller.InputWeak,
	}}
}

// Outputs implements controller.Controller.
func (*LogController) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *LogController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	ticker := time.NewTicker(logInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-ticker.C:
		}

		err := boundLogs(c.Dir, MaxLogSize)
		if err != nil {
			logger.Warn("bound the logs", zap.Error(err))
		}
	}
}

func boundLogs(dir string, limit int64) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return fmt.Errorf("list logs in %s: %w", dir, err)
	}

	var all error

	for _, path := range paths {
		all = errors.Join(all, boundLog(path, limit))
	}

	return all
}

func boundLog(path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= limit {
		return err
	}

	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer from.Close()

	// The end is what somebody will want to read.
	_, err = from.Seek(info.Size()-limit, io.SeekStart)
	if err != nil {
		return err
	}

	to, err := os.OpenFile(path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}

	_, err = io.Copy(to, from)

	return errors.Join(err, to.Close(), from.Truncate(0))
}

// followInterval is how often a followed log is looked at for more.
const followInterval = 250 * time.Millisecond

// TailLog gives the last lines of a container's log to each, and goes on with
// what is appended until ctx ends if follow is set. It ends with the error of
// each, if there is one. A log that doesn't exist (yet) is empty.
func TailLog(ctx context.Context, dir, name string, lines int, follow bool, each func(line string) error) error {
	tail, last, err := newTailer(dir, name, each)
	if err != nil {
		return err
	}

	if lines > 0 && len(last) > lines {
		last = last[len(last)-lines:]
	}

	for _, line := range last {
		err = each(line)
		if err != nil {
			return err
		}
	}

	if !follow {
		return nil
	}

	return tail.follow(ctx)
}

// FollowLog returns what gives each line that is appended to a container's log from
// now on to each, until its context ends.
func FollowLog(dir, name string, each func(line string) error) (func(ctx context.Context) error, error) {
	tail, _, err := newTailer(dir, name, each)
	if err != nil {
		return nil, err
	}

	return tail.follow, nil
}

// tailer reads a log from where it last was.
type tailer struct {
	path   string
	each   func(string) error
	offset int64
	// rest is a line that has no end yet.
	rest string
}

// newTailer returns one that begins at the log's end, and the lines before that.
func newTailer(dir, name string, each func(string) error) (*tailer, []string, error) {
	if name != filepath.Base(name) {
		return nil, nil, fmt.Errorf("read the log of %q: no such container", name)
	}

	t := &tailer{path: filepath.Join(dir, name+".log"), each: each}

	var all []string

	for _, path := range []string{t.path + ".1", t.path} {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("read %s: %w", t.path, err)
		}

		for line := range strings.Lines(string(text)) {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}

		t.offset = int64(len(text))
	}

	return t, all, nil
}

// follow the log until ctx ends.
func (t *tailer) follow(ctx context.Context) error {
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			// What was written last; nobody may be there to read it.
			_ = t.more()

			return nil
		case <-ticker.C:
		}

		err := t.more()
		if err != nil {
			return err
		}
	}
}

func (t *tailer) more() error {
	file, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fmt.Errorf("follow %s: %w", t.path, err)
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("follow %s: %w", t.path, err)
	}

	if info.Size() < t.offset {
		// It was emptied: what follows is all new.
		t.offset, t.rest = 0, ""
	}

	_, err = file.Seek(t.offset, io.SeekStart)
	if err != nil {
		return fmt.Errorf("follow %s: %w", t.path, err)
	}

	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadString('\n')
		t.offset += int64(len(line))
		t.rest += line

		if err != nil {
			return nil
		}

		line, t.rest = strings.TrimSuffix(t.rest, "\n"), ""

		err = t.each(line)
		if err != nil {
			return err
		}
	}
}
