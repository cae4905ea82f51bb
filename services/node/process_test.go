package node_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/node"
)

func TestProcessCanAnswer(t *testing.T) {
	require.True(t, node.ProcessCanAnswer(os.Getpid()))

	gone := exec.Command("true")
	require.NoError(t, gone.Run())
	require.False(t, node.ProcessCanAnswer(gone.Process.Pid))
}

func TestStuckOrAtWorkSince(t *testing.T) {
	at := time.Unix(100, 0)
	before := node.Activity{At: at, Ran: time.Second, Waited: time.Second, Turns: 50}

	const ms = time.Millisecond

	for _, test := range []struct {
		name          string
		state         string
		ran, waited   time.Duration
		turns         uint64
		stuck, worked bool
	}{
		{"stopped", "T", 0, 0, 0, true, false},
		{"waits for a lock", "S", 0, 0, 0, true, false},
		{"waits for its disk", "D", 0, 0, 0, false, true},
		{"gets no processor", "R", 0, 990 * ms, 0, false, true},
		{"gone", "", 0, 0, 0, true, false},
		{"runs in circles", "R", 950 * ms, 0, 20, true, true},
		{"works", "S", 300 * ms, 0, 90, false, true},
		{"polls", "S", 90 * ms, 20 * ms, 90, false, false},
	} {
		after := node.Activity{
			At: at.Add(time.Second), State: test.state,
			Ran: before.Ran + test.ran, Waited: before.Waited + test.waited, Turns: before.Turns + test.turns,
		}
		assert.Equal(t, test.stuck, after.StuckSince(before), test.name)
		assert.Equal(t, test.worked, after.WorkedSince(before), test.name)
	}
}

func TestActivitySince(t *testing.T) {
	before := node.Activity{At: time.Unix(100, 0), State: "S", Ran: time.Second, Waited: time.Second, Turns: 50}
	after := node.Activity{At: time.Unix(110, 0), State: "R", Ran: 2 * time.Second, Waited: 9 * time.Second, Turns: 70}

	assert.Equal(t, "in 10s it ran 1s in 20 turns and waited 8s for a processor; its state is R", after.Since(before))
	assert.Equal(t, "it is gone", node.Activity{}.Since(before))
}

// The kernel's numbers are those the rule is about: a stopped process takes no
// turns.
func TestProcessActivityOfAStoppedProcess(t *testing.T) {
	sleeper := exec.Command("sh", "-c", "kill -STOP $$; while :; do :; done")
	require.NoError(t, sleeper.Start())

	t.Cleanup(func() {
		_ = sleeper.Process.Signal(syscall.SIGKILL)
		_ = sleeper.Wait()
	})

	require.Eventually(t, func() bool {
		return node.ProcessActivity(sleeper.Process.Pid).State == "T"
	}, 5*time.Second, time.Millisecond)

	before := node.ProcessActivity(sleeper.Process.Pid)
	require.True(t, node.ProcessActivity(sleeper.Process.Pid).StuckSince(before))

	require.NoError(t, sleeper.Process.Signal(syscall.SIGCONT))
	require.Eventually(t, func() bool {
		return node.ProcessActivity(sleeper.Process.Pid).Turns > before.Turns
	}, 5*time.Second, time.Millisecond)
}
