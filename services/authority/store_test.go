package authority_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// TestDamagedStoreDoesNotVoteAndHarmsNobody: whatever the disk did to the store
// of one voter, that one doesn't vote and says so, and the others go on.
func TestDamagedStoreDoesNotVoteAndHarmsNobody(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()
	// Before n2 is stopped, somebody else must lead, or the test waits for that.
	c.await("n3", "n1 doesn't lead", func(s authority.AuthorityStatusSpec) bool { return s.Leader != "" && s.Leader != "n1" })
	c.nodes["n2"].stop()

	dir := c.nodes["n2"].config.Dir
	log := filepath.Join(dir, "raft.db")
	good := readFiles(t, dir)

	for _, damage := range []struct {
		name string
		do   func() error
		want string
	}{
		{"garbage", func() error { return os.WriteFile(log, []byte("no log at all"), 0o600) }, "raft.db"},
		{"zeros", func() error { return os.WriteFile(log, make([]byte, len(good[log])), 0o600) }, "raft.db"},
		// bbolt doubles the file before it needs the new half, which may hold nothing.
		{"a quarter of it", func() error { return os.Truncate(log, int64(len(good[log])/4)) }, "raft.db"},
		{"all but its head", func() error { return os.Truncate(log, 8192) }, "raft.db"},
		{"pages overwritten", func() error { return overwrite(log, 2*4096, 16*4096) }, "makes no sense"},
		{"emptied", func() error { return os.Truncate(log, 0) }, "the log in"},
		{"log gone", func() error { return os.Remove(log) }, "the log in"},
		{"identity gone", func() error { return os.Remove(filepath.Join(dir, "identity.json")) }, "identity.json is missing"},
		{"identity cut short", func() error { return os.Truncate(filepath.Join(dir, "identity.json"), 9) }, "identity.json"},
		{"everything gone", func() error { return os.RemoveAll(dir) }, "another store than the one with which it voted"},
		{"another cluster's", func() error { return otherCluster(dir, good) }, "belongs to cluster"},
	} {
		t.Run(damage.name, func(t *testing.T) {
			c.t = t

			require.NoError(t, damage.do())
			c.start(up, "n2")

			s := c.await("n2", "says that it doesn't vote", func(s authority.AuthorityStatusSpec) bool { return s.Error != "" })
			require.Contains(t, s.Error, damage.want)
			require.False(t, s.Voting)

			// It is still a member in everything else.
			c.await("n2", "knows who holds", func(s authority.AuthorityStatusSpec) bool { return s.HaveQuorum && s.Holder == "n1" })
			c.nodes["n2"].stop()
			restore(t, dir, good)
		})
	}

	c.t = t

	c.start(up, "n2")
	c.await("n2", "votes again with its own store", func(s authority.AuthorityStatusSpec) bool { return s.Voting && s.HaveQuorum })
	require.NoError(t, c.nodes["n1"].Outdate(c.ctx(), "n2"))
}

func TestFlippedBitInACommandIsFound(t *testing.T) {
	t.Parallel()

	c := newCluster(t)
	c.formed()
	c.await("n2", "has it", func(s authority.AuthorityStatusSpec) bool { return s.Formatted })
	c.nodes["n2"].stop()

	log := filepath.Join(c.nodes["n2"].config.Dir, "raft.db")
	raw, err := os.ReadFile(log)
	require.NoError(t, err)

	// Every copy of the first grant's text, live or in a freed page.
	changed := false

	for i := range raw {
		if string(raw[i:min(i+len(grantText), len(raw))]) == grantText {
			raw[i+len(grantText)-1] ^= 1
			changed = true
		}
	}

	require.True(t, changed, "no grant in the log")
	require.NoError(t, os.WriteFile(log, raw, 0o600))
	c.start(up, "n2")

	s := c.await("n2", "says that it doesn't vote", func(s authority.AuthorityStatusSpec) bool { return s.Error != "" })
	require.Contains(t, s.Error, "checksum")
}

const grantText = `"kind":"grant"`

func readFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()

	files := map[string][]byte{}

	for _, name := range []string{"raft.db", "identity.json"} {
		path := filepath.Join(dir, name)
		raw, err := os.ReadFile(path)
		require.NoError(t, err)

		files[path] = raw
	}

	return files
}

func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "snapshots"), 0o700))

	for path, raw := range files {
		require.NoError(t, os.WriteFile(path, raw, 0o600))
	}
}

func overwrite(path string, from, to int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}

	garbage := make([]byte, to-from)
	for i := range garbage {
		garbage[i] = byte(i * 31)
	}

	if _, err := f.WriteAt(garbage, from); err != nil {
		return err
	}

	return f.Close()
}

func otherCluster(dir string, files map[string][]byte) error {
	path := filepath.Join(dir, "identity.json")
	raw := string(files[path])

	return os.WriteFile(path, []byte(strings.Replace(raw, `"clusterID": "k"`, `"clusterID": "other"`, 1)), 0o600)
}
