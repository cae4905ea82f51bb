package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
)

// A disk that forgot in a power cut what it had said was written looks up to date to DRBD
// until both replicas were compared. Who serves does that some time after each connection:
// a planned move waits for it, since nothing presses.

// answerTime is left of the caller's deadline to say that it was too short.
const answerTime = time.Second

// uncompared: who serves is still going to compare its replica with the other one.
func (s snapshot) uncompared() bool {
	return s.reports[s.authority.Holder].Report.Replica.Uncompared
}

// awaitCompared returns what is known once the replicas were compared, or the target
// serves anyway.
func (m *move) awaitCompared(ctx context.Context) (snapshot, error) {
	ctx, cancel := waitingContext(ctx)
	defer cancel()

	changes, err := m.server.changes(ctx)
	if err != nil {
		return snapshot{}, explained(err, "switch over to "+m.target)
	}

	for told := false; ; {
		known, err := m.server.snapshot(ctx)
		if err != nil {
			return known, explained(err, "switch over to "+m.target)
		}

		_, err = known.switchoverTarget(m.target)
		if err != nil || known.serves(m.target) || !known.uncompared() {
			return known, err
		}

		waiting := fmt.Sprintf("%s has yet to compare its replica with that of %s since they were connected", known.authority.Holder, m.target)

		if !told {
			told = true

			err = m.send(&antlerv1.Progress{Elapsed: m.elapsed(), Waiting: waiting})
			if err != nil {
				return known, err
			}
		}

		select {
		case <-changes:
		case <-ctx.Done():
			return known, m.notCompared(ctx, waiting)
		}
	}
}

// waitingContext ends before the caller's does.
func waitingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithTimeout(ctx, moveWait)
	}

	return context.WithDeadline(ctx, end.Add(-answerTime))
}

func (m *move) notCompared(ctx context.Context, waiting string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return explained(ctx.Err(), "switch over to "+m.target)
	}

	return problem(codes.DeadlineExceeded, "NOT_COMPARED", fmt.Sprintf("switch over to %s: not begun: %s", m.target, waiting),
		"it begins some 30 s after the connection and reads all of both: `antlerctl get replica` there shows it; --timeout gives it longer, --now doesn't wait")
}
