package metadata

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/moosefs/protocol"
)

// fakeLine answers what it is told to, and counts the second question.
type fakeLine struct {
	err, listErr error
	list         []protocol.Chunkserver
	connections  int
	counted      int
}

func (l *fakeLine) Info(context.Context) (protocol.Info, error) {
	return protocol.Info{Version: 4<<16 | 57<<8 | 10, MetaVersion: 9, MetadataID: 7, Chunks: 3, TotalSpace: 10, AvailSpace: 4}, l.err
}

func (l *fakeLine) Chunkservers(context.Context) ([]protocol.Chunkserver, error) {
	l.counted++

	return l.list, l.listErr
}

func (l *fakeLine) Connections() int { return l.connections }

func ready(n int) []protocol.Chunkserver {
	// One that has gone, and one that has not yet said what it has room for.
	list := []protocol.Chunkserver{{Total: 5}, {Connected: true}}
	for range n {
		list = append(list, protocol.Chunkserver{Connected: true, Total: 5})
	}

	return list
}

func TestLocalMaster(t *testing.T) {
	clock := time.Unix(1000, 0)
	l := &fakeLine{list: ready(2), connections: 1}
	m := &LocalMaster{line: l, now: func() time.Time { return clock }}

	probe := func() Info {
		t.Helper()

		info, err := m.Probe(t.Context())
		require.NoError(t, err)

		return info
	}

	require.Equal(t, Info{Version: "4.57.5", MetaVersion: 9, MetadataID: 7, TotalSpace: 10, FreeSpace: 4, Chunks: 3, Chunkservers: 2}, probe())

	// While they connect it is counted with each answer, and then no more often than need be.
	l.list = ready(3)
	clock = clock.Add(settling)
	require.Equal(t, 3, probe().Chunkservers)
	require.Equal(t, 2, l.counted)

	clock = clock.Add(time.Second)
	require.Equal(t, 3, probe().Chunkservers)
	require.Equal(t, 2, l.counted)

	// Without an answer the last number stays.
	clock = clock.Add(2 * countInterval)
	l.listErr = errors.New("no answer")
	_, err := m.Probe(t.Context())
	require.Error(t, err)
	require.Equal(t, 3, probe().Chunkservers, "it isn't asked again at once")
	require.Equal(t, 3, l.counted)

	// Another connection may be to another master.
	l.listErr, l.connections = nil, 2
	clock = clock.Add(time.Second)
	require.Equal(t, 3, probe().Chunkservers)
	require.Equal(t, 4, l.counted)
}

// A master that starts has no chunkservers, and is not kept waiting by the question.
func TestLocalMasterThatStarts(t *testing.T) {
	l := &fakeLine{err: syscall.ECONNREFUSED, list: ready(2)}
	m := &LocalMaster{line: l, now: time.Now, chunkservers: 3}

	_, err := m.Probe(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	l.err, l.connections = nil, 1
	info, err := m.Probe(t.Context())
	require.NoError(t, err)
	require.Zero(t, info.Chunkservers, "those of the last master don't count")
	require.Zero(t, l.counted)

	info, err = m.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, info.Chunkservers)
}
