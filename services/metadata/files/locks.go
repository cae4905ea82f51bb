package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// lockWindow is how long before its end a master may have promised a chunk whose
// client still waits for the answer, in s: a word with its chunkservers takes far
// less. Older locks are those of clients that are writing, and end with that.
const lockWindow = 10

// recentSize of a changelog holds lockWindow, at some thousand changes a second.
const recentSize = 4 << 20

// EndLocks ends the locks on chunks that the master in dir promised to clients in
// its last moments, and returns how many there were. It appends the change with
// which a master ends them, UNLOCK, to the changelog. Nothing may run on dir, and no
// changelog may end in a torn line.
//
// A client that never got the answer asks the next master again, and would wait for
// 120 s (LOCKTIMEOUT in mfsmaster's chunks.c) for a lock that is its own. One that got
// the answer may be writing: it ends the lock itself when it is done, for the second
// time then. Why that is safe: docs/design, "Locks of chunks".
func EndLocks(dir string) (int, error) {
	ended, err := endLocks(dir)
	if err != nil {
		return 0, fmt.Errorf("end the locks of chunks that were promised last: %w", err)
	}

	return ended, nil
}

func endLocks(dir string) (int, error) {
	stored, err := ReadStored(dir)
	if err != nil {
		return 0, err
	}

	recent, newest, err := recentChanges(dir)
	if err != nil || len(recent) == 0 {
		return 0, err
	}

	// A metadata file that goes further doesn't go on from this changelog.
	last := recent[len(recent)-1]
	if last.version+1 != stored.Version {
		return 0, nil
	}

	locked := lockedChunks(recent)
	if len(locked) == 0 {
		return 0, nil
	}

	var lines bytes.Buffer
	for i, chunk := range locked {
		fmt.Fprintf(&lines, "%d: %d|UNLOCK(%d)\n", stored.Version+uint64(i), last.time, chunk)
	}

	return len(locked), appendDurably(newest, lines.Bytes())
}

// change is a line of a changelog: VERSION: TIME|NAME(ARGUMENTS):RESULT, the result
// only where there is one.
type change struct {
	version, time           uint64
	name, arguments, result string
}

func parseChange(line string) (change, bool) {
	version, rest, found := strings.Cut(line, ": ")
	time, rest, dated := strings.Cut(rest, "|")
	name, rest, called := strings.Cut(rest, "(")
	end := strings.LastIndexByte(rest, ')')

	if !found || !dated || !called || end < 0 {
		return change{}, false
	}

	c := change{name: name, arguments: rest[:end], result: strings.TrimPrefix(rest[end+1:], ":")}

	var err, timeErr error

	c.version, err = strconv.ParseUint(version, 10, 64)
	c.time, timeErr = strconv.ParseUint(time, 10, 64)

	return c, err == nil && timeErr == nil
}

// recentChanges are the last ones of the two newest changelogs, without a gap, and
// the file that holds the last of them.
func recentChanges(dir string) (recent []change, newest string, err error) {
	for _, n := range []int{1, 0} {
		path := filepath.Join(dir, fmt.Sprintf("changelog.%d.mfs", n))

		tail, err := readTail(path, recentSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}

		if err != nil {
			return nil, "", err
		}

		for line := range strings.Lines(string(tail)) {
			c, ok := parseChange(strings.TrimSuffix(line, "\n"))

			switch {
			case !ok:
				recent = nil
			case len(recent) > 0 && recent[len(recent)-1].version+1 != c.version:
				recent = []change{c}
			default:
				recent = append(recent, c)
			}

			newest = path
		}
	}

	return recent, newest, nil
}

func readTail(path string, size int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return nil, err
	}

	tail := make([]byte, min(info.Size(), size))

	_, err = file.ReadAt(tail, info.Size()-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}

	if info.Size() > size {
		// The first line may have lost its beginning.
		_, tail, _ = bytes.Cut(tail, []byte("\n"))
	}

	return tail, nil
}

// lockedChunks are those that a change of the last lockWindow has locked and none has
// unlocked, in the order of their numbers. One whose version went up with that is left
// out: if no chunkserver was told so before the master died, nobody can read the chunk
// until the next one mends it, and whoever waits for a lock gets no error meanwhile.
func lockedChunks(recent []change) []uint64 {
	locked := map[uint64]bool{}
	last := recent[len(recent)-1].time

	var highest uint64

	for _, c := range recent {
		switch c.name {
		case "WRITE":
			// WRITE(INODE,INDEX,OPERATION,MODIFIED):CHUNK. The operation is 0, or 1 for a
			// new chunk or version. New chunks have rising numbers.
			chunk, err := strconv.ParseUint(c.result, 10, 64)
			if err != nil {
				continue
			}

			arguments := strings.Split(c.arguments, ",")
			made := highest > 0 && chunk > highest
			quiet := len(arguments) > 2 && arguments[2] == "0"
			highest = max(highest, chunk)

			if c.time+lockWindow >= last && (made || quiet) {
				locked[chunk] = true
			} else {
				delete(locked, chunk)
			}
		case "TRUNC":
			// TRUNC(INODE,INDEX):CHUNK, always with a new version.
			forget(locked, c.result)
		case "UNLOCK", "CHUNKDEL":
			// UNLOCK(CHUNK), CHUNKDEL(CHUNK,VERSION)
			first, _, _ := strings.Cut(c.arguments, ",")
			forget(locked, first)
		case "ROLLBACK":
			// ROLLBACK(INODE,INDEX,BEFORE,CHUNK)
			forget(locked, c.arguments[strings.LastIndexByte(c.arguments, ',')+1:])
		}
	}

	return slices.Sorted(maps.Keys(locked))
}

func forget(locked map[uint64]bool, chunk string) {
	if number, err := strconv.ParseUint(chunk, 10, 64); err == nil {
		delete(locked, number)
	}
}

func appendDurably(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}

	_, err = file.Write(content)

	return errors.Join(err, file.Sync(), file.Close())
}
