package authority

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

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
