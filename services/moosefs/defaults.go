package moosefs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"antler/services/node/config"
)

// Every MooseFS since 4.57 begins with the storage classes "2CP" and "3CP", and
// the root of a new file system has 2CP: two copies on two chunkservers
// (storageclass.c). Whatever is created inherits the class of its directory, so
// the root's is the default of everything that doesn't say otherwise.

// defaultClass returns the class for a number of copies, and whether MooseFS
// brings it along.
func defaultClass(copies int) (name string, builtin bool) {
	switch copies {
	case 2, 3:
		return strconv.Itoa(copies) + "CP", true
	default:
		return "antler-" + strconv.Itoa(copies), false
	}
}

// SetDefaults sees to it that new data below the root has the configured number
// of copies and trash time. It looks first and changes only what differs, and
// never touches what exists below the root: that may have its own class.
func SetDefaults(ctx context.Context, run Runner, mount string, storage config.Storage) error {
	class, builtin := defaultClass(storage.Copies)

	if !builtin {
		err := ensureClass(ctx, run, mount, class, storage.Copies)
		if err != nil {
			return err
		}
	}

	have, err := attribute(ctx, run, mount, "mfsgetsclass")
	if err != nil {
		return err
	}

	if have != class {
		_, err = run.Run(ctx, "mfssetsclass", class, mount)
		if err != nil {
			return fmt.Errorf("make %s the storage class of new data: %w", class, err)
		}
	}

	return setTrashTime(ctx, run, mount, time.Duration(storage.TrashTime)*time.Second)
}

// setTrashTime: MooseFS counts it in hours; less is rounded up.
func setTrashTime(ctx context.Context, run Runner, mount string, trash time.Duration) error {
	hours := strconv.Itoa(int((trash + time.Hour - 1) / time.Hour))

	have, err := attribute(ctx, run, mount, "mfsgettrashretention")
	if err != nil {
		return err
	}

	// "24 (1d)"
	if current, _, _ := strings.Cut(have, " "); current == hours {
		return nil
	}

	_, err = run.Run(ctx, "mfssettrashretention", hours, mount)
	if err != nil {
		return fmt.Errorf("keep deleted files for %s hours: %w", hours, err)
	}

	return nil
}

// ensureClass creates the class unless it is there.
func ensureClass(ctx context.Context, run Runner, mount, class string, copies int) error {
	out, err := run.Run(ctx, "mfslistsclass", "-M", mount)
	if err != nil {
		return fmt.Errorf("list storage classes: %w", err)
	}

	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == class {
			return nil
		}
	}

	_, err = run.Run(ctx, "mfscreatesclass", "-M", mount, "-K", strconv.Itoa(copies), class)
	if err != nil {
		return fmt.Errorf("create storage class %s: %w", class, err)
	}

	return nil
}

// errOutput: a tool said something else than it used to.
var errOutput = errors.New("unexpected output")

// attribute asks a MooseFS tool about the mount's root: "MOUNT: VALUE".
func attribute(ctx context.Context, run Runner, mount, tool string) (string, error) {
	out, err := run.Run(ctx, tool, mount)
	if err != nil {
		return "", fmt.Errorf("ask for the defaults of new data: %w", err)
	}

	value, found := strings.CutPrefix(strings.TrimSpace(out), mount+": ")
	if !found {
		return "", fmt.Errorf("ask for the defaults of new data: %s: %w: %q", tool, errOutput, out)
	}

	return value, nil
}
