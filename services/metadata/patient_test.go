package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/metadata"
)

// late is a master that answers when it is let.
type late struct {
	metadata.Prober

	asked   int
	answers chan error
}

func (l *late) Probe(context.Context) (metadata.Info, error) {
	l.asked++

	return metadata.Info{Chunks: 7}, <-l.answers
}

func TestALateAnswerIsWaitedFor(t *testing.T) {
	l := &late{answers: make(chan error, 1)}
	patient := &metadata.Patient{Prober: l}
	over, cancel := context.WithCancel(t.Context())
	cancel()

	for range 3 {
		_, err := patient.Probe(over)
		require.ErrorIs(t, err, context.Canceled)
	}

	l.answers <- nil

	info, err := patient.Probe(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, info.Chunks)
	require.Equal(t, 1, l.asked)

	l.answers <- errors.New("connection reset")

	_, err = patient.Probe(t.Context())
	require.ErrorContains(t, err, "connection reset")
	require.Equal(t, 2, l.asked, "the next question is a new one")
}
