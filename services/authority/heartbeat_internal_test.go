package authority

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// paused is what the heartbeat waits that the function sends.
func paused(t *calmTransport, id raft.ServerID) time.Duration {
	begun := time.Now()
	t.pause(id)

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
		tr.pause("n2")

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

func TestHeartbeatOfARaftThatEndsIsNotHeldBack(t *testing.T) {
	ended := make(chan struct{})
	close(ended)

	tr := newCalmTransport(nil, time.Hour, ended)
	tr.pause("n2")
	require.Less(t, paused(tr, "n2"), time.Minute)
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
