package metadata

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// late is a master that answers when it is let.
type late struct {
	Prober

	asked   int
	answers chan error
}

func (l *late) Probe(ctx context.Context) (Info, error) {
	l.asked++

	select {
	case err := <-l.answers:
		return Info{Chunks: 7}, err
	case <-ctx.Done():
		return Info{}, ctx.Err()
	}
}

// soon is a context that has no time left for an answer.
func soon(t *testing.T) context.Context {
	t.Helper()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	return ctx
}

func TestALateAnswerIsWaitedFor(t *testing.T) {
	l := &late{answers: make(chan error, 1)}

	var p patient

	for range 3 {
		_, err := p.probe(soon(t), l, 10)
		require.ErrorIs(t, err, context.Canceled)
	}

	l.answers <- nil

	info, err := p.probe(t.Context(), l, 10)
	require.NoError(t, err)
	require.EqualValues(t, 7, info.Chunks)
	require.Equal(t, 1, l.asked)

	l.answers <- errors.New("connection reset")

	_, err = p.probe(t.Context(), l, 10)
	require.ErrorContains(t, err, "connection reset")
	require.Equal(t, 2, l.asked, "the next question is a new one")
}

// The last master's word would speak for data that the next one doesn't have.
func TestALateAnswerIsNotTheNextOnes(t *testing.T) {
	l := &late{answers: make(chan error, 1)}

	var p patient

	_, err := p.probe(soon(t), l, 10)
	require.Error(t, err)

	l.answers <- errors.New("the word of process 10")

	// It has spoken, and nobody listened.
	a := <-p.pending
	said := make(chan answer, 1)
	said <- a
	close(said)
	p.pending = said

	l.answers <- nil

	info, err := p.probe(t.Context(), l, 11)
	require.NoError(t, err)
	require.EqualValues(t, 7, info.Chunks)
	require.Equal(t, 2, l.asked)
}

// deaf is a master that listens after so many tries.
type deaf struct {
	Prober

	tries int
	then  error
}

func (d *deaf) Probe(context.Context) (Info, error) {
	if d.tries > 0 {
		d.tries--

		return Info{}, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}

	return Info{Chunks: 7}, d.then
}

func TestAMasterThatStartsIsAskedUntilItListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()

		info, err := whenListening{&deaf{tries: 10}}.Probe(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 7, info.Chunks)
		require.Equal(t, 10*listeningPoll, time.Since(begun))

		// What it says then is what counts.
		_, err = whenListening{&deaf{tries: 1, then: errors.New("version unknown")}}.Probe(t.Context())
		require.ErrorContains(t, err, "version unknown")

		_, err = whenListening{&deaf{tries: 1}}.Probe(soon(t))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}
