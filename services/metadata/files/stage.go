package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// Stage gathers the files of a source in a directory of its own.
type Stage struct {
	dir  string
	file *os.File
	name string
}

// NewStage empties the directory and begins.
func NewStage(dir string) (*Stage, error) {
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}

	if err != nil {
		return nil, fmt.Errorf("stage metadata: %w", err)
	}

	return &Stage{dir: dir}, nil
}

// stagedName is what Fetch hands out: nothing else gets into the directory.
var stagedName = regexp.MustCompile(`^(metadata\.mfs\.back|changelog\.[0-9]+\.mfs)$`)

// Add appends a chunk to a file; a file is finished when the next one begins.
func (s *Stage) Add(name string, chunk []byte) error {
	if !stagedName.MatchString(name) {
		return fmt.Errorf("stage metadata: %q is no file of a source", name)
	}

	if name != s.name {
		err := s.finish()
		if err != nil {
			return err
		}

		s.file, err = os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("stage metadata: %w", err)
		}

		s.name = name
	}

	_, err := s.file.Write(chunk)
	if err != nil {
		return fmt.Errorf("stage metadata: %w", err)
	}

	return nil
}

func (s *Stage) finish() error {
	if s.file == nil {
		return nil
	}

	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil

	if err != nil {
		return fmt.Errorf("stage metadata: %w", err)
	}

	return nil
}

// Close finishes, and says what could be started from it.
func (s *Stage) Close() (Source, error) {
	err := s.finish()
	if err != nil {
		return Source{}, err
	}

	_, err = CutTornChange(s.dir)
	if err != nil {
		return Source{}, err
	}

	err = syncPath(s.dir)
	if err != nil {
		return Source{}, err
	}

	source, err := ReadSource(s.dir)
	if err == nil && source.Version == 0 {
		err = fmt.Errorf("stage metadata: %s", source.Problem)
	}

	return source, err
}

// date makes the files of a copy as old as what they were copied from: how old the
// last change is must be seen in the copy.
func date(dir string, when time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}

	for _, entry := range entries {
		err = os.Chtimes(filepath.Join(dir, entry.Name()), when, when)
		if err != nil {
			return err
		}
	}

	return nil
}

// CopyReplica stages what a replica of the node holds, as old as it is.
func (p Places) CopyReplica(ctx context.Context, dir string) (Source, error) {
	stage, err := NewStage(dir)
	if err != nil {
		return Source{}, err
	}

	original, err := ReadSource(p.Data)
	if err != nil {
		return Source{}, err
	}

	err = p.Fetch(p.Node+"/"+kindReplica, func(file string, chunk []byte) error {
		return errors.Join(ctx.Err(), stage.Add(file, chunk))
	})

	source, closeErr := stage.Close()
	if err == nil {
		err = closeErr
	}

	if err == nil {
		err = date(dir, original.Time)
	}

	source.Time = original.Time

	return source, err
}

// Install puts staged metadata into the data directory. What was there stays
// beside it, under another name. It may be repeated: what is in place is left
// alone.
func Install(stage, data string, want Stored) error {
	there, err := ReadSource(data)
	if err == nil && there.Version == want.Version && there.ID == want.ID {
		return nil
	}

	staged, err := ReadSource(stage)
	if err != nil {
		return fmt.Errorf("restore metadata: %w", err)
	}

	if staged.Version != want.Version || staged.ID != want.ID {
		return fmt.Errorf("restore metadata: %s reaches version %d of %016X, the quorum agreed to version %d of %016X: give the command \"antlerctl metadata restore\" again",
			stage, staged.Version, staged.ID, want.Version, want.ID)
	}

	next := data + ".new"

	err = copyDirectory(stage, next)
	if err != nil {
		return fmt.Errorf("restore metadata: %w", err)
	}

	err = putAside(data)
	if err != nil {
		return fmt.Errorf("restore metadata: put aside what is there: %w", err)
	}

	err = os.Rename(next, data)
	if err != nil {
		return fmt.Errorf("restore metadata: %w", err)
	}

	return syncPath(filepath.Dir(data))
}

// putAside renames a data directory, so that nothing in it is lost.
func putAside(data string) error {
	for n := 1; ; n++ {
		saved := filepath.Join(filepath.Dir(data), fmt.Sprintf("%s%d", savedPrefix, n))

		// The new name must be free: renaming onto an empty directory would work.
		err := unix.Renameat2(unix.AT_FDCWD, data, unix.AT_FDCWD, saved, unix.RENAME_NOREPLACE)

		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, fs.ErrExist):
			continue
		}

		return err
	}
}

// copyDirectory copies the files of a directory, and has them on disk.
func copyDirectory(from, to string) error {
	err := os.RemoveAll(to)
	if err == nil {
		err = os.Mkdir(to, 0o750)
	}

	if err != nil {
		return err
	}

	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}

	for _, entry := range entries {
		path := filepath.Join(to, entry.Name())

		err = copyFile(filepath.Join(from, entry.Name()), path)
		if err != nil {
			return err
		}
	}

	return syncPath(to)
}

func copyFile(from, to string) error {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}

	err = readFile(from, "", func(_ string, chunk []byte) error {
		_, err := file.Write(chunk)

		return err
	})

	return errors.Join(err, file.Sync(), file.Close())
}

// syncPath of a file, or of the names in a directory.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}

	return errors.Join(file.Sync(), file.Close())
}
