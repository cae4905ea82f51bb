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
	if _, err := t.pause(id, 1); err != nil {
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

// A voter's renewals say what its answers to heartbeats would: none is sent to it. As soon
// as they don't come, or are of another term, heartbeats are sent as before.
func TestHeartbeatThatARenewalAnswersIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, renewal = 500 * time.Millisecond, 400 * time.Millisecond

		sent := 0
		tr := newCalmTransport(nil, every, nil)
		tr.send = func(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
			sent++

			return nil
		}

		heartbeat := func(term uint64) (raft.AppendEntriesResponse, time.Duration) {
			var response raft.AppendEntriesResponse

			begun := time.Now()
			require.NoError(t, tr.AppendEntries("n2", "", &raft.AppendEntriesRequest{Term: term}, &response))

			return response, time.Since(begun)
		}

		_, took := heartbeat(7)
		require.Zero(t, took)
		require.Equal(t, 1, sent, "the first")

		for range 3 {
			time.AfterFunc(renewal, func() { tr.follows("n2", 7) })

			response, took := heartbeat(7)
			require.Equal(t, renewal, took)
			require.Equal(t, raft.AppendEntriesResponse{Term: 7, Success: true}, response)
		}

		require.Equal(t, 1, sent)

		time.AfterFunc(renewal, func() {
			tr.follows("n2", 6)
			tr.follows("n3", 7)
		})

		_, took = heartbeat(7)
		require.Equal(t, every, took)
		require.Equal(t, 2, sent, "that was another term, or another node")

		tr.follows("n2", 7) // while no heartbeat waits

		_, took = heartbeat(7)
		require.Equal(t, every, took)
		require.Equal(t, 3, sent)
	})
}

// Raft is told of a leader by what comes with an answer, until it ends.
func TestWhatComesWithAnAnswerIsHeard(t *testing.T) {
	tr := newCalmTransport(raft.NewNetworkTransport(&stream{done: make(chan struct{})}, 1, time.Second, io.Discard), time.Hour, nil)
	tr.heard(&raft.AppendEntriesRequest{Term: 1}) // there is no Raft yet

	var heard []uint64

	tr.SetHeartbeatHandler(func(r raft.RPC) {
		request, ok := r.Command.(*raft.AppendEntriesRequest)
		require.True(t, ok)
		require.True(t, isHeartbeat(request))

		heard = append(heard, request.Term)
		r.Respond(nil, nil) // nobody waits for it
	})

	tr.heard(&raft.AppendEntriesRequest{Term: 2})
	tr.deaf()
	tr.heard(&raft.AppendEntriesRequest{Term: 3})
	require.Equal(t, []uint64{2}, heard)
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

		in := func(term uint64) bool { return leads.Load() && term == 1 }
		tr.leads.Store(&in)

		ask := func(id raft.ServerID, term uint64) error {
			_, err := tr.pause(id, term)

			return err
		}

		require.NoError(t, ask("n2", 1))
		require.ErrorIs(t, ask("n3", 0), errOver, "a former term")

		waited := make(chan error, 1)
		go func() { waited <- ask("n2", 1) }()

		leads.Store(false)
		require.ErrorIs(t, <-waited, errOver)

		leads.Store(true)
		time.Sleep(time.Second)
		require.NoError(t, ask("n2", 1))

		close(ended)
		require.ErrorIs(t, ask("n2", 1), errOver, "Raft is to end")
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
