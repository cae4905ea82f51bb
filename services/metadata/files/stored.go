package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Empty is the metadata file of a new master, from mfsmaster(8).
const Empty = "MFSM NEW"

// eofMark ends every complete metadata file, from mfsmaster's metadata.c.
const eofMark = "[MFS EOF MARKER]"

// Stored is what a start of mfsmaster from a data directory would come to.
type Stored struct {
	// New: the empty metadata of a master that never ran.
	New bool
	// Version that all metadata files and changelogs together reach, and the
	// metadata's id (0 where no complete file names one yet).
	Version, ID uint64
}

// ReadStored looks at what `mfsmaster -a` would load from dir: the best complete
// metadata file, and the changelogs after it. Nothing is changed.
func ReadStored(dir string) (Stored, error) {
	var stored Stored

	files, err := filepath.Glob(filepath.Join(dir, "metadata*"))
	if err != nil {
		return stored, err
	}

	for _, file := range files {
		found, err := readMetadata(file)
		if err != nil {
			return stored, fmt.Errorf("look at %s: %w", file, err)
		}

		stored.New = stored.New || found.New

		if found.Version > stored.Version {
			stored.Version, stored.ID = found.Version, found.ID
		}
	}

	changes, _, err := lastChange(dir)
	if err != nil {
		return stored, err
	}

	stored.Version = max(stored.Version, changes)

	return stored, nil
}

// LastTime returns the latest time in the last of dir's changes, by the clocks of those who
// served then; zero if there are none.
func LastTime(dir string) (time.Time, error) {
	_, at, err := lastChange(dir)

	return at, err
}

// readMetadata reads the header of a metadata file; one that is torn counts for
// nothing, since mfsmaster won't load it.
func readMetadata(path string) (Stored, error) {
	file, err := os.Open(path)
	if err != nil {
		return Stored{}, err
	}
	defer file.Close()

	header := make([]byte, 24)

	n, err := io.ReadFull(file, header)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return Stored{New: string(header[:n]) == Empty}, nil
	}

	if err != nil {
		return Stored{}, err
	}

	if !bytes.HasPrefix(header, []byte("MFSM ")) {
		return Stored{}, nil
	}

	tail := make([]byte, len(eofMark))

	info, err := file.Stat()
	if err != nil {
		return Stored{}, err
	}

	_, err = file.ReadAt(tail, info.Size()-int64(len(eofMark)))
	if err != nil || string(tail) != eofMark {
		return Stored{}, nil //nolint:nilerr // torn: not to be loaded
	}

	return Stored{Version: binary.BigEndian.Uint64(header[8:]), ID: binary.BigEndian.Uint64(header[16:])}, nil
}

// lastChange returns the version after the last complete line of the newest
// changelogs, and the latest time in those before it.
func lastChange(dir string) (version uint64, at time.Time, err error) {
	var last change

	// changelog.0.mfs is the newest; it may be empty after a rotation.
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprintf("changelog.%d.mfs", i))

		found, err := lastLine(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, time.Time{}, fmt.Errorf("look at %s: %w", path, err)
		}

		last = change{max(last.version, found.version), max(last.at, found.at)}
	}

	if last.version == 0 {
		return 0, time.Time{}, nil
	}

	return last.version + 1, time.Unix(last.at, 0), nil
}

// change is what lines of a changelog, `VERSION: SECONDS|WHAT`, come to.
type change struct {
	version uint64
	at      int64
}

// tailSize holds many lines: the longest is a path of some KiB.
const tailSize = 64 << 10

// lastLine returns the last complete line.
func lastLine(path string) (change, error) {
	file, err := os.Open(path)
	if err != nil {
		return change{}, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return change{}, err
	}

	_, err = file.Seek(max(0, info.Size()-tailSize), io.SeekStart)
	if err != nil {
		return change{}, err
	}

	return lastOf(file)
}

func lastOf(r io.Reader) (change, error) {
	var last change

	lines := bufio.NewReader(r)

	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			// Without its end a line is torn.
			return last, nil
		}

		if err != nil {
			return change{}, err
		}

		number, what, found := strings.Cut(line, ": ")
		if !found {
			continue
		}

		version, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue
		}

		seconds, _, _ := strings.Cut(what, "|")
		at, _ := strconv.ParseInt(seconds, 10, 64) // 0 if there is none
		last = change{version, max(last.at, at)}
	}
}
