package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a wall clock that tests set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func testTime() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func sequences(events []Event) []uint64 {
	var out []uint64

	for _, event := range events {
		out = append(out, event.Sequence)
	}

	return out
}

func watched(t *testing.T, log *EventLog, q Query) []Event {
	t.Helper()

	var out []Event

	require.NoError(t, log.Watch(t.Context(), q, func(event Event) error {
		out = append(out, event)

		return nil
	}))

	return out
}

func TestWatchReplays(t *testing.T) {
	c := &clock{testTime()}
	log := NewEventLog("n1", c.now)

	for i := range 5 {
		c.at = testTime().Add(time.Duration(i) * time.Second)
		log.Emit("authority.granted", uint64(i), "granted")
	}

	for _, tc := range []struct {
		name string
		q    Query
		want []uint64
	}{
		{"all", Query{}, []uint64{1, 2, 3, 4, 5}},
		{"tail", Query{Tail: 2}, []uint64{4, 5}},
		{"a tail longer than all", Query{Tail: 9}, []uint64{1, 2, 3, 4, 5}},
		{"since is inclusive", Query{Since: testTime().Add(3 * time.Second)}, []uint64{4, 5}},
		{"tail of what is since", Query{Since: testTime().Add(2 * time.Second), Tail: 1}, []uint64{5}},
		{"since the future", Query{Since: testTime().Add(time.Hour)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, sequences(watched(t, log, tc.q)))
		})
	}
}

func TestWatchFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewEventLog("n1", time.Now)
		log.Emit("node.started", 0, "before")

		ctx, cancel := context.WithCancel(t.Context())

		var seen []uint64

		ended := make(chan error, 1)

		go func() {
			ended <- log.Watch(ctx, Query{Since: time.Now().Add(time.Second), Follow: true}, func(event Event) error {
				seen = append(seen, event.Sequence)

				return nil
			})
		}()

		synctest.Wait()
		require.Empty(t, seen)

		time.Sleep(time.Minute)
		log.Emit("node.stopping", 0, "after")
		log.Emit("node.stopping", 0, "after")
		synctest.Wait()
		require.Equal(t, []uint64{2, 3}, seen)

		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestLogIsBounded(t *testing.T) {
	log := NewEventLog("n1", time.Now)

	for range EventsKept + 10 {
		log.Emit("node.started", 0, "")
	}

	kept := watched(t, log, Query{})
	require.Len(t, kept, EventsKept)
	require.Equal(t, uint64(11), kept[0].Sequence)
	require.Equal(t, uint64(EventsKept+10), log.Total())
}

// A clock that was set back must not hide events.
func TestTimesOnlyGrow(t *testing.T) {
	c := &clock{testTime()}
	log := NewEventLog("n1", c.now)
	log.Emit("node.started", 0, "")

	c.at = c.at.Add(-time.Hour)
	log.Emit("node.stopping", 0, "")

	events := watched(t, log, Query{})
	require.True(t, events[1].Time.After(events[0].Time))
	require.Equal(t, []uint64{2}, sequences(watched(t, log, Query{Since: events[0].Time.Add(1)})))
}

func TestPrintWritesEachLineOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{testTime()}
		log := NewEventLog("n1", c.now)
		log.Emit("authority.granted", 7, `epoch 7 for "n1"`)

		ctx, cancel := context.WithCancel(t.Context())

		var out bytes.Buffer

		ended := make(chan error, 1)

		go func() { ended <- log.Print(ctx, &out) }()

		synctest.Wait()
		require.Equal(t, `antler-event: {"time":"2026-03-01T12:00:00Z","node":"n1","sequence":1,"kind":"authority.granted","epoch":7,"message":"epoch 7 for \"n1\""}`+"\n", out.String())

		log.Emit("authority.released", 7, "")
		synctest.Wait()
		cancel()
		require.NoError(t, <-ended)

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 2)

		var event Event

		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(lines[1], EventPrefix)), &event))
		require.Equal(t, "authority.released", event.Kind)
	})
}

func TestPrintTellsWhenItCannot(t *testing.T) {
	log := NewEventLog("n1", time.Now)
	log.Emit("node.started", 0, "")

	reader, writer := io.Pipe()
	require.NoError(t, reader.CloseWithError(errors.New("console is gone")))
	require.ErrorContains(t, log.Print(t.Context(), writer), "print event node.started: console is gone")
}

func TestKindsAreWellFormed(t *testing.T) {
	var seen []string

	for _, kind := range Kinds() {
		service, what, found := strings.Cut(kind.Kind, ".")
		require.True(t, found && service != "" && what != "", kind.Kind)
		require.NotContains(t, seen, kind.Kind)
		require.NotEmpty(t, kind.Meaning)

		seen = append(seen, kind.Kind)
	}
}

// emits finds the kinds that services emit by name.
func emits() *regexp.Regexp { return regexp.MustCompile(`\bEmit\("([a-z-]+\.[a-z-]+)"`) }

func TestEveryKindIsInTheTable(t *testing.T) {
	var known []string
	for _, kind := range Kinds() {
		known = append(known, kind.Kind)
	}

	files, err := filepath.Glob("../*/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)

	deeper, err := filepath.Glob("../*/*/*.go")
	require.NoError(t, err)

	files = append(files, deeper...)

	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)

		if strings.HasSuffix(path, "_test.go") {
			continue
		}

		for _, found := range emits().FindAllSubmatch(text, -1) {
			require.Contains(t, known, string(found[1]), path)
		}
	}
}

func TestGatherSortsByTime(t *testing.T) {
	log := func(node string, offset time.Duration) source {
		c := &clock{testTime().Add(offset)}
		l := NewEventLog(node, c.now)

		for i := range 3 {
			c.at = testTime().Add(offset + time.Duration(i)*time.Second)
			l.Emit("node.started", 0, fmt.Sprint(i))
		}

		return l.Watch
	}

	broken := func(context.Context, Query, func(Event) error) error { return errors.New("no such node") }

	all := gather(t.Context(), map[string]source{"n1": log("n1", 0), "n2": log("n2", 500*time.Millisecond), "n3": broken}, Query{})
	require.Len(t, all, 6)
	require.True(t, slices.IsSortedFunc(all, func(a, b Event) int { return a.Time.Compare(b.Time) }))
}
