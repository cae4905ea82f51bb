package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	antlerv1 "antler/api/antler/v1"
)

const (
	// settleWait is what the rest of the cluster gets after a move: a chunkserver may
	// take 5 s to try again, and needs another second or two.
	settleWait = 15 * time.Second
	// settlePoll is between two looks at the status.
	settlePoll = 500 * time.Millisecond
)

// settling waits after a move until the status shows no problem that was not there
// before it.
type settling struct {
	*app

	client antlerv1.ClusterServiceClient
	began  time.Time
	before []*antlerv1.Problem
}

func (s *settling) rememberProblems(ctx context.Context) {
	s.before, _ = s.problems(ctx)
}

// problems of the cluster, as the node that was asked sees it.
func (s *settling) problems(ctx context.Context) ([]*antlerv1.Problem, error) {
	reply, err := s.client.GetStatus(ctx, &antlerv1.GetStatusRequest{})

	return reply.GetCluster().GetProblems(), err
}

// wholeness is the last line that programs get: what is wrong since the move, and
// what was so before it and still is.
type wholeness struct {
	Whole     bool     `json:"whole"`
	Remaining []string `json:"remaining"`
	Before    []string `json:"before"`
}

func (s *settling) compare(now []*antlerv1.Problem) wholeness {
	state := wholeness{Whole: len(now) == 0, Remaining: []string{}, Before: []string{}}

	for _, problem := range now {
		if s.isNew(problem) {
			state.Remaining = append(state.Remaining, problem.GetSummary())
		} else {
			state.Before = append(state.Before, problem.GetSummary())
		}
	}

	return state
}

// isNew reports whether a problem was not there before.
func (s *settling) isNew(problem *antlerv1.Problem) bool {
	return !slices.ContainsFunc(s.before, func(old *antlerv1.Problem) bool { return identity(old) == identity(problem) })
}

// identity is what a problem and its later self have in common. Its summary has
// numbers in it that change, but is all that a node of an older version says.
func identity(problem *antlerv1.Problem) [3]string {
	if problem.GetReason() == "" {
		return [3]string{problem.GetSummary()}
	}

	return [3]string{problem.GetReason(), problem.GetNode(), problem.GetSubject()}
}

// wait shows what is still missing, each time that it is something else. A cluster
// that does not get whole is no failure of the move; Ctrl-C is the end all the same.
func (s *settling) wait(given context.Context) error {
	ctx, cancel := context.WithTimeout(given, settleWait)
	defer cancel()

	told, state := "", wholeness{Remaining: []string{"no node has said how the cluster is"}, Before: []string{}}

	for {
		now, err := s.problems(ctx)
		if err == nil {
			state = s.compare(now)
		}

		if len(state.Remaining) == 0 {
			return s.end(state)
		}

		if text := strings.Join(state.Remaining, "; "); err == nil && text != told {
			told = text
			s.note("%6.2f s  still coming: %s", s.elapsed(), told)
		}

		if pause(ctx, settlePoll) == nil {
			continue
		}

		err = s.end(state)
		if errors.Is(given.Err(), context.Canceled) {
			return given.Err()
		}

		return err
	}
}

func (s *settling) elapsed() float64 { return s.Now().Sub(s.began).Seconds() }

// end says how it stands.
func (s *settling) end(state wholeness) error {
	if s.output != formatTable {
		return s.showSettled(state)
	}

	if len(state.Remaining) > 0 {
		_, err := fmt.Fprintf(s.Out, "not whole yet: %s: see `antlerctl status`\n", strings.Join(state.Remaining, "; "))

		return err
	}

	word := "the cluster is whole"
	if !state.Whole {
		word = "the cluster is as it was before (`antlerctl status` shows what is wrong)"
	}

	_, err := fmt.Fprintf(s.Out, "%s, after %.1f s\n", word, s.elapsed())

	return err
}

func (s *settling) showSettled(state wholeness) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	if s.output == formatYAML {
		return s.showYAML(raw)
	}

	_, err = fmt.Fprintln(s.Out, string(raw))

	return err
}
