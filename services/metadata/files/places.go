package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Places are where this node keeps metadata.
type Places struct {
	// Node is this node's name.
	Node string
	// Data is mfsmaster's directory; nothing is there unless the replica is
	// mounted. SavedIn is where restores put aside what was there before, in
	// directories beginning with "saved-".
	Data, SavedIn string
	// Metalogger is the metalogger's directory.
	Metalogger string
	// Backups are where a person puts directories that "antlerctl metadata backup"
	// made, and where antlerd puts its own (Backups).
	Backups []string
}

// savedPrefix of the directories that a restore puts aside.
const savedPrefix = "saved-"

// backupPrefix of a source that is a backup, kindReplica the one that serves.
const (
	backupPrefix = "backup-"
	kindReplica  = "replica"
)

// Sources are all places of this node that exist, with what is in them.
func (p Places) Sources() []Source {
	dirs := [][2]string{{kindReplica, p.Data}, {"metalogger", p.Metalogger}}

	for _, dir := range below(p.SavedIn, savedPrefix) {
		dirs = append(dirs, [2]string{filepath.Base(dir), dir})
	}

	for _, backups := range p.Backups {
		for _, dir := range below(backups, "") {
			dirs = append(dirs, [2]string{backupPrefix + filepath.Base(dir), dir})
		}
	}

	var sources []Source

	for _, dir := range dirs {
		if _, err := os.Stat(dir[1]); errors.Is(err, fs.ErrNotExist) {
			continue
		}

		source, err := ReadSource(dir[1])
		if err != nil {
			source.Problem = err.Error()
		}

		source.Name = p.Node + "/" + dir[0]
		sources = append(sources, source)
	}

	return sources
}

// below are the directories in dir whose names begin with prefix, in order, but
// for those that are being made or removed.
func below(dir, prefix string) []string {
	var found []string

	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), prefix) && !strings.HasPrefix(entry.Name(), ".") {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}

	return found
}

// ErrNoSource says that this node has no such source, or nothing could be loaded
// from it.
var ErrNoSource = errors.New("no such source")

// chunkSize is how much of a file is handed on at a time.
const chunkSize = 256 << 10

// Fetch hands each the files that a restore from the source needs, under the
// names that a master gives them. They may be read while somebody writes to them:
// whoever keeps them looks at what came.
func (p Places) Fetch(name string, each func(file string, chunk []byte) error) error {
	sources := p.Sources()

	i := slices.IndexFunc(sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return fmt.Errorf("fetch metadata from %s: %w on %s", name, ErrNoSource, p.Node)
	}

	source := sources[i]
	if source.Version == 0 {
		return fmt.Errorf("fetch metadata from %s: %w that could be loaded: %s", name, ErrNoSource, source.Problem)
	}

	err := source.fetchBase(each)
	if err != nil {
		return fmt.Errorf("fetch metadata from %s: %w", name, err)
	}

	for n, file := range source.changes {
		// Number 0 is what the master will write to.
		err = readFile(file, fmt.Sprintf("changelog.%d.mfs", len(source.changes)-n), each)
		if err != nil {
			return fmt.Errorf("fetch metadata from %s: %w", name, err)
		}
	}

	return nil
}

// fetchBase hands on the metadata file, or that of a new master, to which all
// changes are applied.
func (s *Source) fetchBase(each func(file string, chunk []byte) error) error {
	const name = "metadata.mfs.back"

	if s.young {
		return each(name, []byte(Empty))
	}

	return readFile(s.base, name, each)
}

// readFile hands on a file. It is not open while each works, however long that
// takes: a file system on which one is open can't be unmounted.
func readFile(path, name string, each func(file string, chunk []byte) error) error {
	var first os.FileInfo

	buffer := make([]byte, chunkSize)

	for at := int64(0); ; {
		n, info, err := readPiece(path, buffer, at)
		if err != nil {
			return err
		}

		if first != nil && !os.SameFile(first, info) {
			return fmt.Errorf("%s was replaced while it was being read: try again", path)
		}

		if n == 0 {
			return nil
		}

		first, at = info, at+int64(n)

		err = each(name, buffer[:n])
		if err != nil {
			return err
		}
	}
}

func readPiece(path string, buffer []byte, at int64) (int, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return 0, nil, err
	}

	n, err := file.ReadAt(buffer, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}

	return n, info, err
}

// NodeOf is the node on which the source is: the part before the slash.
func NodeOf(source string) string {
	node, _, _ := strings.Cut(source, "/")

	return node
}
