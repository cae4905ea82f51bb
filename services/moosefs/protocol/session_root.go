package protocol

import (
	"fmt"
	"strings"
)

// SessionRoot is a client's session and the directory that it shows as its root:
// MATOCL_SESSION_LIST, mode 2 (sessions_data_session in MooseFS's sessions.c).
// The master works out the directory's path when it is asked: a directory that
// was renamed since the client mounted it has its new one.
type SessionRoot struct {
	Session

	// Root is a path from MooseFS's own root, with a "/" in front.
	Root string
}

func parseSessionRoots(body []byte) ([]SessionRoot, error) {
	d := decoder{rest: body}

	// Each session ends with so many counters, twice: of this hour and of the last.
	counters := int(d.u16())

	var all []SessionRoot

	for len(d.rest) > 0 {
		var s SessionRoot

		s.ID, s.Address = d.u32(), d.addr()
		d.take(8) // the client's version, its open files

		s.Connected = d.u8() > 0
		d.take(4) // when it expires

		s.Path, s.Root = strings.TrimRight(d.text(), "\x00"), d.text()
		// Flags, the users that root and all are mapped to, the range of goals and
		// of trash times.
		d.take(1 + 16 + 2 + 8)
		d.take(2 * 4 * counters)

		if d.err != nil {
			return nil, fmt.Errorf("read the list of sessions with their roots: %w", d.err)
		}

		all = append(all, s)
	}

	if d.err != nil {
		return nil, fmt.Errorf("read the list of sessions with their roots: %w", d.err)
	}

	return all, nil
}
