package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// helperThread is what DRBD 8.4 calls the kernel thread that waits for the end of the
// fence-peer handler after the peer was lost (conn_try_outdate_peer_async in
// drbd_nl.c). What the handler says it then applies to the connection that it was
// about. If the resource was taken down meanwhile, the kernel dies of it (6.12: oops in
// conn_highest_role).
const helperThread = "drbd_async_h"

// Helpers looks for such threads.
type Helpers struct {
	// Proc is /proc but in tests.
	Proc string
}

// Running reports whether there is one.
func (h Helpers) Running() (bool, error) {
	names, err := filepath.Glob(filepath.Join(h.Proc, "[0-9]*", "comm"))
	if err != nil {
		return false, err
	}

	if len(names) == 0 {
		return false, fmt.Errorf("look for DRBD's threads: no processes in %s", h.Proc)
	}

	for _, name := range names {
		comm, err := os.ReadFile(name)
		// A process that has ended since has no name any more.
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return false, fmt.Errorf("look for DRBD's threads: %w", err)
			}

			continue
		}

		if bytes.Equal(bytes.TrimSpace(comm), []byte(helperThread)) {
			return true, nil
		}
	}

	return false, nil
}

// helperPoll is the pause between two looks.
const helperPoll = 20 * time.Millisecond

// awaitHelpers waits until no such thread is left. Whoever calls it has seen to it that
// the handler gets an answer.
func (a actions) awaitHelpers(ctx context.Context) error {
	for {
		running, err := a.helpers()
		if err != nil {
			return err
		}

		if !running {
			return nil
		}

		select {
		case <-ctx.Done():
			return errors.New("DRBD still waits for its fence-peer handler, and must not be taken down before it has its answer")
		case <-time.After(helperPoll):
		}
	}
}
