package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Backups are the copies that a node makes of what it serves, each in a directory
// of its own below Dir, called TIME-NODE. Others may keep theirs beside them.
type Backups struct {
	Dir string
	// Places of the node that makes them.
	Places Places
}

// backupTime is the part of a backup's name that says when it was made, in UTC.
const backupTime = "20060102T150405Z"

// unfinished is where a backup is gathered, and from where one is removed. It
// begins with a dot: it is no source.
func (b Backups) unfinished() string { return filepath.Join(b.Dir, ".unfinished-"+b.Places.Node) }

// made returns this node's backups, the newest first.
func (b Backups) made() ([]string, error) {
	entries, err := os.ReadDir(b.Dir)
	if err != nil {
		return nil, err
	}

	var names []string

	for _, entry := range entries {
		if _, ours := b.timeOf(entry.Name()); ours && entry.IsDir() {
			names = append(names, entry.Name())
		}
	}

	slices.Sort(names)
	slices.Reverse(names)

	return names, nil
}

// timeOf a backup of this node. Anything else is not touched.
func (b Backups) timeOf(name string) (time.Time, bool) {
	text, ours := strings.CutSuffix(name, "-"+b.Places.Node)
	if !ours {
		return time.Time{}, false
	}

	at, err := time.Parse(backupTime, text)

	return at, err == nil
}

// Newest says when the last backup was made; zero if there is none.
func (b Backups) Newest() (time.Time, error) {
	names, err := b.made()
	if err != nil {
		return time.Time{}, fmt.Errorf("look for backups of the metadata: %w", err)
	}

	if len(names) == 0 {
		return time.Time{}, nil
	}

	at, _ := b.timeOf(names[0])

	return at, nil
}

// Make a backup of what the replica on this node holds. It must reach the version.
//
// While it writes to Dir, which may hang, nothing of the replica is open (readFile),
// so that this can be unmounted.
func (b Backups) Make(ctx context.Context, now time.Time, version uint64) (Source, error) {
	source, err := b.make(ctx, now, version)
	if err != nil {
		return source, fmt.Errorf("back up the metadata to %s: %w", b.Dir, err)
	}

	return source, nil
}

func (b Backups) make(ctx context.Context, now time.Time, version uint64) (Source, error) {
	// It is not made here: it may be the mount point of what isn't mounted.
	_, err := os.ReadDir(b.Dir)
	if err != nil {
		return Source{}, err
	}

	path := filepath.Join(b.Dir, now.UTC().Format(backupTime)+"-"+b.Places.Node)

	_, err = os.Lstat(path)
	if !errors.Is(err, os.ErrNotExist) {
		return Source{}, fmt.Errorf("%s is there already", path)
	}

	source, err := b.Places.CopyReplica(ctx, b.unfinished())

	switch {
	case err != nil:
	case source.Problem != "":
		err = errors.New(source.Problem)
	case source.Version < version:
		err = fmt.Errorf("it reaches version %d, and version %d was served before it began", source.Version, version)
	default:
		err = os.Rename(b.unfinished(), path)
	}

	if err != nil {
		// What stays is removed by the next attempt.
		_ = os.RemoveAll(b.unfinished())

		return Source{}, err
	}

	source.Name, source.Path = b.Places.Node+"/"+backupPrefix+filepath.Base(path), path

	return source, syncPath(b.Dir)
}

// Prune removes all but the newest of this node's backups, as many as keep.
func (b Backups) Prune(keep int) error {
	names, err := b.made()
	if err != nil {
		return fmt.Errorf("remove old backups of the metadata: %w", err)
	}

	for _, name := range names[min(max(keep, 1), len(names)):] {
		// What is half removed must not pass for a backup.
		err = os.RemoveAll(b.unfinished())
		if err == nil {
			err = os.Rename(filepath.Join(b.Dir, name), b.unfinished())
		}

		if err == nil {
			err = os.RemoveAll(b.unfinished())
		}

		if err != nil {
			return fmt.Errorf("remove the old backup %s of the metadata: %w", name, err)
		}
	}

	return nil
}
