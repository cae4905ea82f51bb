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

	changes, err := lastChange(dir)
	if err != nil {
		return stored, err
	}

	stored.Version = max(stored.Version, changes)

	return stored, nil
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
// changelog that has one; 0 where there is none.
func lastChange(dir string) (uint64, error) {
	var last uint64

	// changelog.0.mfs is the newest; it may be empty after a rotation.
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprintf("changelog.%d.mfs", i))

		version, err := lastLine(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("look at %s: %w", path, err)
		}

		last = max(last, version)
	}

	if last == 0 {
		return 0, nil
	}

	return last + 1, nil
}

// tailSize holds many lines: the longest is a path of some KiB.
const tailSize = 64 << 10

// lastLine returns the version of the last complete line: `VERSION: CHANGE`.
func lastLine(path string) (uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return 0, err
	}

	_, err = file.Seek(max(0, info.Size()-tailSize), io.SeekStart)
	if err != nil {
		return 0, err
	}

	return lastVersion(file)
}

func lastVersion(r io.Reader) (uint64, error) {
	var last uint64

	lines := bufio.NewReader(r)

	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			// Without its end a line is torn.
			return last, nil
		}

		if err != nil {
			return 0, err
		}

		number, _, found := strings.Cut(line, ": ")
		if !found {
			continue
		}

		version, err := strconv.ParseUint(number, 10, 64)
		if err == nil {
			last = version
		}
	}
}
