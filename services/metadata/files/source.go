package files

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source is a place that holds metadata, and how far it goes.
type Source struct {
	// Name of the place, NODE/KIND, and where it is on that node.
	Name, Path string
	// Version that it reaches, and the metadata's id; 0 where there is nothing that
	// could be loaded.
	Version, ID uint64
	// Time of the last change in it.
	Time time.Time
	// Problem says why it holds nothing, or less than it seems.
	Problem string

	// base is the best complete metadata file, changes the changelogs after it.
	// young: nobody has made a metadata file yet, and the changes are all there is,
	// from the first on.
	base    string
	changes []string
	young   bool
}

// span is an unbroken run of changes in a changelog: first to last, both included.
type span struct {
	first, last uint64
	file        string
	// id of the metadata, where the first change of all is in it.
	id uint64
}

// ReadSource looks at what could be loaded from dir: a master's data directory,
// a metalogger's, or a copy of one. Other than ReadStored it reads every line, to
// find what is missing in between. Nothing is changed.
func ReadSource(dir string) (Source, error) {
	source := Source{Path: dir}

	err := source.readBase(dir)
	if err != nil {
		return source, err
	}

	spans, err := readChanges(dir)
	if err != nil {
		return source, err
	}

	if source.base == "" && !source.fromTheFirst(spans) {
		source.Problem = "there is no complete metadata file"

		return source, nil
	}

	source.extend(spans)

	return source, source.date()
}

// readBase finds the best complete metadata file.
func (s *Source) readBase(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "metadata*"))
	if err != nil {
		return err
	}

	for _, file := range files {
		found, err := readMetadata(file)
		if err != nil {
			return fmt.Errorf("look at %s: %w", file, err)
		}

		if found.Version > s.Version {
			s.Version, s.ID, s.base = found.Version, found.ID, file
		}
	}

	return nil
}

// fromTheFirst is for a file system so young that no metadata file of it has been
// made: mfsmaster makes one each hour. The first change of all names its id.
func (s *Source) fromTheFirst(spans []span) bool {
	for _, run := range spans {
		if run.id != 0 {
			s.Version, s.ID, s.young = 1, run.id, true

			return true
		}
	}

	return false
}

// extend adds the changes that follow on what is there without a gap.
func (s *Source) extend(spans []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })

	for _, run := range spans {
		if run.last < s.Version {
			continue
		}

		if run.first > s.Version {
			s.Problem = fmt.Sprintf("the changes %d to %d are missing, so those after them are of no use", s.Version, run.first-1)

			return
		}

		s.Version = run.last + 1

		if !slices.Contains(s.changes, run.file) {
			s.changes = append(s.changes, run.file)
		}
	}
}

// date finds when the last change was written.
func (s *Source) date() error {
	for _, file := range append([]string{s.base}, s.changes...) {
		if file == "" {
			continue
		}

		info, err := os.Stat(file)
		if err != nil {
			return err
		}

		if info.ModTime().After(s.Time) {
			s.Time = info.ModTime()
		}
	}

	return nil
}

// readChanges reads all changelogs: a master's are called changelog.N.mfs, a
// metalogger's changelog_ml.N.mfs and changelog_ml_back.N.mfs.
func readChanges(dir string) ([]span, error) {
	files, err := filepath.Glob(filepath.Join(dir, "changelog*.mfs"))
	if err != nil {
		return nil, err
	}

	var all []span

	for _, file := range files {
		spans, err := readSpans(file)
		if err != nil {
			return nil, fmt.Errorf("read changelog %s: %w", file, err)
		}

		all = append(all, spans...)
	}

	return all, nil
}

func readSpans(path string) ([]span, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	var spans []span

	lines := bufio.NewReader(file)

	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			// Without its end a line is torn.
			return spans, nil
		}

		if err != nil {
			return nil, err
		}

		number, change, found := strings.Cut(line, ": ")

		version, err := strconv.ParseUint(number, 10, 64)
		if !found || err != nil {
			continue
		}

		if n := len(spans); n > 0 && (spans[n-1].last+1 == version || spans[n-1].last == version) {
			spans[n-1].last = version

			continue
		}

		spans = append(spans, span{version, version, path, firstID(version, change)})
	}
}

// firstID is the metadata's id as the first change of all says: TIME|SETMETAID(ID).
func firstID(version uint64, change string) uint64 {
	_, text, found := strings.Cut(strings.TrimSuffix(change, ")\n"), "|SETMETAID(")
	if version != 1 || !found {
		return 0
	}

	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}

	return id
}
