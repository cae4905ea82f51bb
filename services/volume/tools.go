package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MooseFSTools are MooseFS's own programs, version 4.57 or newer. Each is given
// its directories as open files and finds them below /proc/self/fd, so that it
// works on what was opened, wherever that has been moved meanwhile.
type MooseFSTools struct {
	// Dir has the programs in it, /usr/bin for example.
	Dir string
}

// firstFile is the number that exec.Cmd gives to the first of ExtraFiles.
const firstFile = 3

func passed(i int) string { return "/proc/self/fd/" + strconv.Itoa(firstFile+i) }

// EnsureClass implements Tools. Copies go to chunkservers with different IP
// addresses: a node may run one chunkserver for each of its disks.
func (m MooseFSTools) EnsureClass(ctx context.Context, mount *os.File, class string, copies int) error {
	have, err := m.run(ctx, []*os.File{mount}, "mfslistsclass", "-M", passed(0))
	if err != nil {
		return err
	}

	if slices.Contains(strings.Fields(string(have)), class) {
		return nil
	}

	_, err = m.run(ctx, []*os.File{mount}, "mfscreatesclass", "-M", passed(0),
		"-K", strconv.Itoa(copies)+"*/[IP]", "-c", strconv.Itoa(copies)+" copies on different nodes", class)
	if err != nil && !said(err, "already in use") {
		return fmt.Errorf("make storage class %s: %w", class, err)
	}

	return nil
}

// SetClass implements Tools.
func (m MooseFSTools) SetClass(ctx context.Context, dir *os.File, class string) error {
	_, err := m.run(ctx, []*os.File{dir}, "mfssetsclass", class, passed(0))
	if said(err, "No such class") {
		return failf(ErrInvalid, "storage class %s does not exist: mfslistsclass shows those that do", class)
	}

	return err
}

// SetTrashTime implements Tools.
func (m MooseFSTools) SetTrashTime(ctx context.Context, dir *os.File, d time.Duration) error {
	_, err := m.run(ctx, []*os.File{dir}, "mfssettrashretention", fmt.Sprintf("%dh", int64(roundUp(d)/time.Hour)), passed(0))

	return err
}

// SetQuota implements Tools.
func (m MooseFSTools) SetQuota(ctx context.Context, dir *os.File, size, inodes uint64) error {
	args := []string{"-L", strconv.FormatUint(size, 10)}
	if inodes > 0 {
		args = append(args, "-I", strconv.FormatUint(inodes, 10))
	}

	_, err := m.run(ctx, []*os.File{dir}, "mfssetquota", append(args, passed(0))...)

	return err
}

// Quotas implements Tools. mfsgetquota tells without walking the tree.
func (m MooseFSTools) Quotas(ctx context.Context, dirs []*os.File) ([]Quota, error) {
	args := []string{"-n"}
	for i := range dirs {
		args = append(args, passed(i))
	}

	out, err := m.run(ctx, dirs, "mfsgetquota", args...)
	if err != nil {
		return nil, err
	}

	found := parseQuota(out)
	quotas := make([]Quota, len(dirs))

	for i, d := range dirs {
		quota, ok := found[passed(i)]
		if !ok {
			return nil, fmt.Errorf("mfsgetquota says nothing about %s", d.Name())
		}

		quotas[i] = quota
	}

	return quotas, nil
}

// Snapshot implements Tools. The names end in a component of their own: the tool
// asks lstat about its source, which must not be a link of /proc.
func (m MooseFSTools) Snapshot(ctx context.Context, from, to *os.File, name string) error {
	_, err := m.run(ctx, []*os.File{from, to}, "mfsmakesnapshot", passed(0)+"/"+name, passed(1)+"/"+name)

	return err
}

// hardQuota is the column of the limit.
const hardQuota = 4

// parseQuota returns the quotas of inodes and lengths that mfsgetquota -n prints, by path:
//
//	/proc/self/fd/3:
//	soft quota grace period: 1w (default)
//	          |        current value |           soft quota | percent |           hard quota | percent |
//	 inodes   |                    0 |                    - |       - |                    - |       - |
//	 length   |                    0 |                    - |       - |                  100 |    0.00 |
func parseQuota(out []byte) map[string]Quota {
	quotas := map[string]Quota{}
	path := ""

	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "/") && strings.HasSuffix(line, ":") {
			path = strings.TrimSuffix(line, ":")

			continue
		}

		fields := strings.Split(line, "|")
		if len(fields) < 2 || path == "" {
			continue
		}

		used, err := strconv.ParseUint(strings.TrimSpace(fields[1]), 10, 64)
		if err != nil {
			continue
		}

		var limit uint64
		if len(fields) > hardQuota {
			// "-" is none.
			limit, _ = strconv.ParseUint(strings.TrimSpace(fields[hardQuota]), 10, 64)
		}

		quota := quotas[path]

		switch strings.TrimSpace(fields[0]) {
		case "inodes":
			quota.UsedInodes, quota.InodeLimit = used, limit
		case "length":
			quota.Used, quota.Limit = used, limit
		default:
			continue
		}

		quotas[path] = quota
	}

	return quotas
}

// toolError is a program that failed, with what it said.
type toolError struct {
	tool, text string
	cause      error
}

func (e *toolError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("%s: %v", e.tool, e.cause)
	}

	return e.tool + ": " + e.text
}

func (e *toolError) Unwrap() error { return e.cause }

// said reports whether a program failed with these words. The programs have
// only one exit code for all failures.
func said(err error, words string) bool {
	var tool *toolError

	return errors.As(err, &tool) && strings.Contains(tool.text, words)
}

// run executes one of the programs until it ends or ctx does.
func (m MooseFSTools) run(ctx context.Context, files []*os.File, tool string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer

	cmd := exec.CommandContext(ctx, filepath.Join(m.Dir, tool), args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + m.Dir}
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A program that hangs in the kernel is not waited for.
	cmd.WaitDelay = time.Second

	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}

		// Some of the programs complain on standard output.
		text := firstLine(stderr.String())
		if text == "" {
			text = firstLine(stdout.String())
		}

		return nil, &toolError{tool: tool, text: text, cause: err}
	}

	return stdout.Bytes(), nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")

	return line
}
