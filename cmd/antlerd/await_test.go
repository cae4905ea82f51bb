package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mounts answers one after the other.
type mounts []struct {
	mounted bool
	err     error
}

func (m *mounts) Probe(context.Context, string) (bool, error) {
	next := (*m)[0]
	*m = (*m)[1:]

	return next.mounted, next.err
}

func TestK3sWaitsForAMountThatAnswers(t *testing.T) {
	silent := errors.New("the master does not answer")
	looks := &mounts{{}, {}, {mounted: true, err: silent}, {mounted: true, err: silent}, {mounted: true}, {}}

	var (
		log    strings.Builder
		slept  int
		resume = func(context.Context, time.Duration) error { slept++; return nil }
	)

	require.NoError(t, awaitMount(t.Context(), looks, &log, resume))
	require.Len(t, *looks, 1, "it looks no more")
	require.Equal(t, 4, slept)
	require.Equal(t, "antlerd: waiting: MooseFS is not mounted at /var/lib/antler/mnt yet\nantlerd: waiting: the master does not answer\n", log.String())
}

func TestK3sDoesNotStartWhenTheWaitIsEnded(t *testing.T) {
	stopped := func(context.Context, time.Duration) error { return context.Canceled }
	err := awaitMount(t.Context(), &mounts{{}}, &strings.Builder{}, stopped)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "is not mounted")
}
