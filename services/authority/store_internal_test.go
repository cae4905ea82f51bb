package authority

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

// TestDamagedListOfFreePagesIsFound: bbolt would panic over it in a goroutine of its
// own, at each start of antlerd.
func TestDamagedListOfFreePagesIsFound(t *testing.T) {
	dir, logger := t.TempDir(), newRaftLogger(zaptest.NewLogger(t))

	s, err := openStore(dir, logger)
	require.NoError(t, err)

	for i := range uint64(9) {
		require.NoError(t, s.log.StoreLog(&raft.Log{Index: i + 1, Term: 1, Type: raft.LogNoop}))
	}

	require.NoError(t, s.close())

	path := filepath.Join(dir, logFile)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)

	const page = 4096

	copy(raw[page*freeList(raw, page):], make([]byte, page))
	require.NoError(t, os.WriteFile(path, raw, 0o600))

	_, err = openStore(dir, logger)
	require.ErrorContains(t, err, "its content makes no sense: invalid freelist page")
}

// freeList is the number of the page with the list, out of the newer of bbolt's two
// meta pages (internal/common/meta.go there).
func freeList(raw []byte, page int) uint64 {
	const header, list, transaction = 16, 32, 48

	first, second := raw[header:], raw[page+header:]
	newer := first

	if binary.NativeEndian.Uint64(second[transaction:]) > binary.NativeEndian.Uint64(first[transaction:]) {
		newer = second
	}

	return binary.NativeEndian.Uint64(newer[list:])
}

// TestDamagedSnapshotDoesNotVote: one that can't be read whole is not gone on without.
func TestDamagedSnapshotDoesNotVote(t *testing.T) {
	for name, damage := range map[string]func(raw []byte) []byte{
		"a flipped bit": func(raw []byte) []byte {
			raw[len(raw)/2] ^= 1

			return raw
		},
		"cut short": func(raw []byte) []byte { return raw[:len(raw)/2] },
		"emptied":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, takePart(t, dir, func(q *quorum) { require.NoError(t, q.raft.Snapshot().Error()) }))

			states, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
			require.NoError(t, err)
			require.Len(t, states, 1)

			raw, err := os.ReadFile(states[0])
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(states[0], damage(bytes.Clone(raw)), 0o600))

			err = takePart(t, dir, func(*quorum) {})
			require.ErrorContains(t, err, "snapshots")
			require.ErrorContains(t, err, replaceAdvice)

			// It was that, and nothing else.
			require.NoError(t, os.WriteFile(states[0], raw, 0o600))
			require.NoError(t, takePart(t, dir, func(*quorum) {}))
		})
	}
}

// takePart is the only voter with the store in dir, until it leads and do has returned.
func takePart(t *testing.T, dir string, do func(*quorum)) error {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	self := Member{Name: "n1", RaftAddress: listener.Addr().String()}
	parts := quorumParts{
		self: self, voters: []Member{self}, dir: dir, timing: DefaultTiming(), listener: listener,
		server: &tls.Config{MinVersion: tls.VersionTLS13}, client: &tls.Config{MinVersion: tls.VersionTLS13},
		logger: zaptest.NewLogger(t), changed: func() {},
	}

	s, err := openStore(dir, newRaftLogger(parts.logger))
	require.NoError(t, err)

	if last, _ := s.log.LastIndex(); last == 0 {
		require.NoError(t, parts.bootstrap(s))
	}

	q, err := parts.join(s)
	if err != nil {
		return errors.Join(err, s.close())
	}

	select {
	case <-q.raft.LeaderCh():
	case <-time.After(30 * time.Second):
		require.Fail(t, "the only voter doesn't lead")
	}

	require.NoError(t, q.raft.Barrier(0).Error())
	do(q)

	return q.leave()
}
