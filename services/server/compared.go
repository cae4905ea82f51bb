package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/services/replication"
)

// A disk that forgot in a power cut what it had said was written looks up to date to DRBD
// until both replicas were compared. Who serves does that some time after each connection:
// a planned move waits for it, since nothing presses.

const (
	// compareWait bounds the wait of a caller who set no deadline: reading 8 GiB at 20 MB/s
	// takes 7 minutes.
	compareWait = 15 * time.Minute
	// answerTime is left of the caller's deadline to say that it was too short.
	answerTime = time.Second
)

// comparison is what the one that serves says of the two replicas.
func (s snapshot) comparison() replication.Comparison {
	return replication.Comparison(s.reports[s.authority.Holder].Report.Replica.Comparison)
}

// waitsFor says what a move to the target that could have begun before has to wait for
// now; "" if for nothing. That the replicas are parted and connected again is part of making
// them the same, and who serves may fail while they are compared.
func (s snapshot) waitsFor(target string) string {
	holder := s.authority.Holder
	replica := s.reports[holder].Report.Replica

	switch {
	case !s.authority.HaveQuorum:
		return "there is no quorum"
	case !s.reports[target].Alive:
		return ""
	case holder == "":
		return "nobody serves"
	case holder == target:
		return target + " takes over"
	case !slices.Contains(s.authority.UpToDate, target):
		return fmt.Sprintf("the replica of %s lacks acknowledged writes", target)
	case replica.Role != string(replication.RolePrimary) || replica.Connection != connectedReplica || replica.PeerDisk != upToDateReplica:
		return fmt.Sprintf("%s has yet to hear of the replica of %s", holder, target)
	case s.comparison() == replication.ComparisonOutstanding:
		return fmt.Sprintf("%s has yet to compare its replica with that of %s since they were connected", holder, target)
	default:
		return ""
	}
}

// DRBD's words for a replica that is written to.
const (
	connectedReplica = "Connected"
	upToDateReplica  = "UpToDate"
)

// awaitCompared returns what is known once the replicas were compared and found to be the
// same, or the target serves anyway.
func (m *move) awaitCompared(ctx context.Context) (snapshot, error) {
	ctx, cancel := waitingContext(ctx)
	defer cancel()

	changes, err := m.server.changes(ctx)
	if err != nil {
		return snapshot{}, explained(err, "switch over to "+m.target)
	}

	told := ""

	for {
		known, err := m.server.snapshot(ctx)
		if err != nil {
			return known, explained(err, "switch over to "+m.target)
		}

		waiting := known.waitsFor(m.target)
		if known.serves(m.target) || waiting == "" {
			return known, m.mayBegin(known)
		}

		if waiting != told {
			told = waiting

			err = m.send(&antlerv1.Progress{Elapsed: m.elapsed(), Waiting: waiting})
			if err != nil {
				return known, err
			}
		}

		select {
		case <-changes:
		case <-ctx.Done():
			return known, m.stillWaiting(ctx, known, waiting)
		}
	}
}

// mayBegin refuses what the wait has shown to be impossible, or unsafe.
func (m *move) mayBegin(known snapshot) error {
	_, err := known.switchoverTarget(m.target)
	if err != nil || known.serves(m.target) || known.comparison() != replication.ComparisonDifferent {
		return err
	}

	return problem(codes.FailedPrecondition, "REPLICAS_DIFFER",
		fmt.Sprintf("switch over to %s: the replicas are not the same, and nobody knows which is right", m.target),
		"docs/recovery.md says how to find out; --now serves what that one has")
}

// waitingContext ends before the caller's does.
func waitingContext(ctx context.Context) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithTimeout(ctx, compareWait)
	}

	return context.WithDeadline(ctx, end.Add(-answerTime))
}

func (m *move) stillWaiting(ctx context.Context, known snapshot, waiting string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return explained(ctx.Err(), "switch over to "+m.target)
	}

	text := fmt.Sprintf("switch over to %s: not begun: %s", m.target, waiting)
	if known.comparison() != replication.ComparisonOutstanding {
		return problem(codes.DeadlineExceeded, "NOT_BEGUN", text, "`antlerctl status` shows what is wrong; --timeout gives it longer")
	}

	return problem(codes.DeadlineExceeded, "NOT_COMPARED", text,
		"comparing begins some time after the connection, and reads all of both replicas: `antlerctl get replica` shows it; --timeout gives it longer, --now doesn't wait")
}
