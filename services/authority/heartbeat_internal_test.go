package authority

import (
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// paused is for how long a heartbeat of the first term is held back.
func paused(t *calmTransport, id raft.ServerID) time.Duration {
	begun := time.Now()
	if err := t.pause(id, 1); err != nil {
		return -1
	}

	return time.Since(begun)
}

func TestHeartbeatsThatNobodyWaitsForArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 500 * time.Millisecond

		tr := newCalmTransport(nil, every, nil)
		require.Zero(t, paused(tr, "n2"), "the first")
		require.Zero(t, paused(tr, "n3"), "each node has its own")
		require.Equal(t, every, paused(tr, "n2"))

		time.Sleep(every / 2)
		require.Equal(t, every/2, paused(tr, "n2"), "counted from the last")
	})
}

func TestHeartbeatThatIsWaitedForLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 500 * time.Millisecond

		tr := newCalmTransport(nil, every, nil)
		require.Zero(t, paused(tr, "n2"))

		waited := make(chan time.Duration, 1)

		go func() { waited <- paused(tr, "n2") }()

		time.Sleep(every / 5)

		first, second := tr.verify(), tr.verify()
		require.Equal(t, every/5+registering, <-waited, "one that was held back already")

		first()
		first() // a second time changes nothing
		require.Equal(t, registering, paused(tr, "n2"), "somebody still waits")

		second()
		require.Equal(t, every, paused(tr, "n2"), "nobody does")
	})
}

func TestHeartbeatAfterOneThatFailedLeavesAtOnce(t *testing.T) {
	tr := newCalmTransport(nil, time.Hour, nil)
	require.GreaterOrEqual(t, paused(tr, "n2"), time.Duration(0))

	tr.forget("n2")
	require.Less(t, paused(tr, "n2"), time.Minute)
}

// A heartbeat that is held back and leaves when its term is over would make its sender the
// leader again for those who have lost it.
func TestHeartbeatOfATermThatIsOverIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		tr := newCalmTransport(nil, time.Second, ended)

		var leads atomic.Bool

		leads.Store(true)

		ask := func(term uint64) bool { return leads.Load() && term == 1 }
		tr.leads.Store(&ask)

		require.NoError(t, tr.pause("n2", 1))
		require.ErrorIs(t, tr.pause("n3", 0), errOver, "a former term")

		waited := make(chan error, 1)
		go func() { waited <- tr.pause("n2", 1) }()

		leads.Store(false)
		require.ErrorIs(t, <-waited, errOver)

		leads.Store(true)
		time.Sleep(time.Second)
		require.NoError(t, tr.pause("n2", 1))

		close(ended)
		require.ErrorIs(t, tr.pause("n2", 1), errOver, "Raft is to end")
	})
}

// At a warning's level it would look like a fault each time the leadership moves.
func TestHeartbeatThatIsNotSentIsNoNews(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	logger := newRaftLogger(zap.New(core))

	logger.Error("failed to heartbeat to", "peer", "n2", "error", errOver)
	logger.Error("failed to heartbeat to", "peer", "n2", "error", io.EOF)

	require.Equal(t, zapcore.DebugLevel, logs.All()[0].Level)
	require.Equal(t, zapcore.WarnLevel, logs.All()[1].Level)
}

func TestOnlyHeartbeatsAreHeldBack(t *testing.T) {
	require.True(t, isHeartbeat(&raft.AppendEntriesRequest{Term: 1}))

	for name, request := range map[string]raft.AppendEntriesRequest{
		"entries":  {Entries: []*raft.Log{{}}},
		"previous": {PrevLogEntry: 1},
		"term":     {PrevLogTerm: 1},
		"commit":   {LeaderCommitIndex: 1},
	} {
		require.False(t, isHeartbeat(&request), name)
	}
}
