package files

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// idle is the change that changes nothing but the version: do_idle in mfsmaster's
// restore.c.
const idle = "IDLE()"

// IdleUnknownSessions makes the changes in dir of sessions that there are not into
// changes of nothing, and returns how many that were.
//
// mfsmaster leaves a session whose client has said goodbye out of the metadata that it
// saves (closed in sessions_store of its sessions.c), and notes only later, in the first
// minutes after its start much later, that the session is gone (SESDEL in
// sessions_check). A start from what was saved in between ends at that note: "Bad session
// id". The sessions that are left out hold nothing: what their clients had open was
// closed.
//
// The versions stay what they are, and all other changes, too. Where any of it is of a
// form that is not known here, nothing is changed.
func IdleUnknownSessions(dir string) (int, error) {
	source := Source{Path: dir}

	err := source.readBase(dir)
	if err != nil || source.base == "" {
		return 0, err
	}

	sessions, readable, err := readSessions(source.base)
	if err != nil || !readable {
		return 0, err
	}

	logs, err := filepath.Glob(filepath.Join(dir, "changelog.*.mfs"))
	if err != nil {
		return 0, err
	}

	unknown, err := unknownSessions(logs, source.Version, sessions)
	if err != nil || len(unknown) == 0 {
		return 0, err
	}

	for _, log := range logs {
		err = idleChanges(log, unknown)
		if err != nil {
			return 0, fmt.Errorf("change %s: %w", log, err)
		}
	}

	return len(unknown), nil
}

// The sections of a metadata file: name and version, and the length of what follows.
// This version of the sessions' is the one that is known here; see sessions_store.
const (
	sectionHeader   = 16
	sessionsSection = "SESS 1.6"
	sessionsHead    = 6
	sessionSize     = 61
	// infoLength is where a session says how much text follows it.
	infoLength = 12
)

// readSessions returns the ids of the sessions in a metadata file, and reports whether
// they could be read.
func readSessions(path string) (map[uint32]bool, bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()

	_, err = file.Seek(24, io.SeekStart)

	for err == nil {
		header := make([]byte, sectionHeader)

		_, err = io.ReadFull(file, header)
		if err != nil || string(header) == eofMark {
			break
		}

		length := binary.BigEndian.Uint64(header[8:])

		if string(header[:8]) == sessionsSection && length < 1<<30 {
			section := make([]byte, length)

			_, err = io.ReadFull(file, section)
			if err != nil {
				break
			}

			ids, readable := parseSessions(section)

			return ids, readable, nil
		}

		_, err = file.Seek(int64(length), io.SeekCurrent)
	}

	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}

	return nil, false, err
}

func parseSessions(section []byte) (map[uint32]bool, bool) {
	ids := map[uint32]bool{}

	if len(section) < sessionsHead {
		return nil, false
	}

	for rest := section[sessionsHead:]; len(rest) >= sessionSize; {
		id := binary.BigEndian.Uint32(rest)
		if id == 0 {
			return ids, true
		}

		size := sessionSize + int(binary.BigEndian.Uint32(rest[infoLength:]))
		if size > len(rest) {
			return nil, false
		}

		ids[id] = true
		rest = rest[size:]
	}

	return nil, false
}

// sessionChange is a change that a session has to be there for, or that makes one.
type sessionChange struct {
	version    uint64
	made, gone bool
	// id of the session; 0 if it can't be read.
	id uint32
}

// unknownSessions returns the versions of those for which there is none, of the changes
// from the version on.
func unknownSessions(logs []string, from uint64, sessions map[uint32]bool) (map[uint64]bool, error) {
	var changes []sessionChange

	for _, log := range logs {
		err := eachLine(log, func(line []byte) error {
			if c, ok := parseSessionChange(line); ok && c.version >= from {
				changes = append(changes, c)
			}

			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read changelog %s: %w", log, err)
		}
	}

	slices.SortFunc(changes, func(a, b sessionChange) int { return cmp.Compare(a.version, b.version) })

	unknown := map[uint64]bool{}

	for i, c := range changes {
		switch {
		case c.id == 0:
			return map[uint64]bool{}, nil
		// The same change in two files.
		case i > 0 && changes[i-1].version == c.version:
		case c.made:
			sessions[c.id] = true
		case !sessions[c.id]:
			unknown[c.version] = true
		case c.gone:
			delete(sessions, c.id)
		}
	}

	return unknown, nil
}

// parseSessionChange reads "VERSION: TIME|SESDEL(ID)" and its like.
func parseSessionChange(line []byte) (sessionChange, bool) {
	// Most lines are none.
	if !bytes.Contains(line, []byte("|SES")) {
		return sessionChange{}, false
	}

	number, change, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
	_, change, separated := strings.Cut(change, "|")

	version, err := strconv.ParseUint(number, 10, 64)
	if !found || !separated || err != nil {
		return sessionChange{}, false
	}

	name, arguments, _ := strings.Cut(change, "(")
	out := sessionChange{version: version, made: name == "SESADD", gone: name == "SESDEL"}

	var text string

	switch name {
	case "SESADD":
		// SESADD(...):ID, and what is in the parentheses is escaped.
		_, text, _ = strings.Cut(arguments, "):")
	case "SESDEL", "SESCONNECTED", "SESDISCONNECTED":
		text = strings.TrimSuffix(arguments, ")")
	default:
		return sessionChange{}, false
	}

	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil {
		out.id = uint32(id)
	}

	return out, true
}

// idleChanges replaces the file if any of the versions is in it.
func idleChanges(path string, versions map[uint64]bool) error {
	var (
		out     bytes.Buffer
		changed bool
	)

	err := eachLine(path, func(line []byte) error {
		if c, ok := parseSessionChange(line); ok && versions[c.version] {
			head, _, _ := bytes.Cut(line, []byte("|"))
			line = append(append(head, '|'), idle+"\n"...)
			changed = true
		}

		_, err := out.Write(line)

		return err
	})
	if err != nil || !changed {
		return err
	}

	return replaceFile(path, out.Bytes())
}

// eachLine is called with each line and its end; the last one may have none.
func eachLine(path string, each func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()

	lines := bufio.NewReaderSize(file, 1<<20)

	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if err := each(line); err != nil {
				return err
			}
		}

		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}
	}
}

// replaceFile durably puts content in the place of a file, which keeps its owner and
// mode.
func replaceFile(path string, content []byte) error {
	var was unix.Stat_t

	err := unix.Stat(path, &was)
	if err != nil {
		return err
	}

	// No name that mfsmaster would read. What a power cut left of it is written over.
	temporary := filepath.Join(filepath.Dir(path), ".mending")

	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(was.Mode&0o777))
	if err != nil {
		return err
	}

	_, err = file.Write(content)

	err = errors.Join(err, file.Chown(int(was.Uid), int(was.Gid)), file.Sync(), file.Close())
	if err != nil {
		return err
	}

	err = os.Rename(temporary, path)
	if err != nil {
		return err
	}

	return syncPath(filepath.Dir(path))
}
