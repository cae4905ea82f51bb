package lab

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// plug returns the other end of a machine's port.
func plug(t *testing.T, s *Switch, name string) net.Conn {
	t.Helper()

	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, s.Plug(name, path))

	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })

	// A port is one's own when the switch has taken the connection.
	s.mu.Lock()
	p := s.ports[name]
	s.mu.Unlock()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return p.line != nil
	}, 5*time.Second, time.Millisecond)

	return conn
}

func send(t *testing.T, to net.Conn, frame string) {
	t.Helper()

	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	require.NoError(t, err)
}

func receive(t *testing.T, from net.Conn) string {
	t.Helper()

	require.NoError(t, from.SetReadDeadline(time.Now().Add(5*time.Second)))

	head := make([]byte, 4)
	_, err := io.ReadFull(from, head)
	require.NoError(t, err)

	frame := make([]byte, binary.BigEndian.Uint32(head))
	_, err = io.ReadFull(from, frame)
	require.NoError(t, err)

	return string(frame)
}

// What is lost is not there before the frame that follows it.
func TestSwitch(t *testing.T) {
	s := NewSwitch(1)
	defer s.Close()

	a, b, c := plug(t, s, "a"), plug(t, s, "b"), plug(t, s, "c")

	send(t, a, "to all")
	require.Equal(t, "to all", receive(t, b))
	require.Equal(t, "to all", receive(t, c))

	s.Cut("a", "b")
	send(t, a, "cut")
	require.Equal(t, "cut", receive(t, c))
	send(t, b, "cut as well")
	require.Equal(t, "cut as well", receive(t, c))

	s.Heal("a", "b")
	s.Set(Link{"b", "a"}, Rule{Drop: 1})
	send(t, b, "lost")
	require.Equal(t, "lost", receive(t, c))
	send(t, a, "the other direction")
	require.Equal(t, "the other direction", receive(t, b))
	require.Equal(t, "the other direction", receive(t, c))

	s.HealAll()

	const delay = 50 * time.Millisecond

	s.Set(Link{"b", "a"}, Rule{Delay: delay})

	sent := time.Now()

	send(t, b, "late")
	require.Equal(t, "late", receive(t, c))
	require.Equal(t, "late", receive(t, a), "and nothing that was cut or lost")
	require.GreaterOrEqual(t, time.Since(sent), delay)
}

// The power of a machine is cut: what is sent to it meanwhile is lost, and its next QEMU
// takes the port.
func TestSwitchAfterAPowerCut(t *testing.T) {
	s := NewSwitch(1)
	defer s.Close()

	a, b := plug(t, s, "a"), plug(t, s, "b")
	require.NoError(t, b.Close())

	// Heard by nobody: the next is told of what comes after.
	c := plug(t, s, "c")
	send(t, a, "lost")
	require.Equal(t, "lost", receive(t, c))
	s.HealAll() // waits until the switch has offered it to all

	again, err := net.Dial("unix", b.RemoteAddr().String())
	require.NoError(t, err)

	defer again.Close()

	// It is there as soon as it is heard.
	send(t, again, "back")
	require.Equal(t, "back", receive(t, a))
	send(t, a, "welcome")
	require.Equal(t, "welcome", receive(t, again), "and not what was sent meanwhile")
}
