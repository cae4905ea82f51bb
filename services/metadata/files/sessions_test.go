package files

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// saved is a metadata file with sessions, as sessions_store writes them.
func saved(version uint64, section string, ids ...uint32) []byte {
	body := make([]byte, sessionsHead)

	for _, id := range ids {
		record := make([]byte, sessionSize)
		binary.BigEndian.PutUint32(record, id)
		binary.BigEndian.PutUint32(record[infoLength:], 4)
		body = append(append(body, record...), "/mnt"...)
	}

	body = append(body, make([]byte, sessionSize)...)

	out := binary.BigEndian.AppendUint64([]byte("MFSM 2.0"), version)
	out = binary.BigEndian.AppendUint64(out, 99)

	for _, part := range []struct {
		name string
		body []byte
	}{{"OTHR 1.0", []byte("something")}, {section, body}, {"NODE 1.0", []byte("more")}} {
		out = binary.BigEndian.AppendUint64(append(out, part.name...), uint64(len(part.body)))
		out = append(out, part.body...)
	}

	return append(out, eofMark...)
}

func TestIdleUnknownSessions(t *testing.T) {
	// 9 said goodbye before the metadata was saved.
	const (
		older = "98: 1|SESDEL(9)\n99: 1|SESADD(#1,1,0,0000,/mnt):8\n"
		newer = "100: 2|SESDISCONNECTED(9)\n101: 2|SESADD(#1,1,0,0000,/a b):10\n102: 3|CREATE(1,SESDEL(7),1):5\n" +
			"103: 3|SESDEL(9)\n104: 3|SESDEL(7)\n105: 3|SESDEL(10)\n106: 3|SESCONNECTED(10)\n107: 4|UNLOCK(3)\ntorn"
		want = "100: 2|IDLE()\n101: 2|SESADD(#1,1,0,0000,/a b):10\n102: 3|CREATE(1,SESDEL(7),1):5\n" +
			"103: 3|IDLE()\n104: 3|SESDEL(7)\n105: 3|SESDEL(10)\n106: 3|IDLE()\n107: 4|UNLOCK(3)\ntorn"
		strange = "\n108: 5|SESADD(#1,1,0,0000,/mnt)\n"
	)

	for name, test := range map[string]struct {
		section, more string
		n             int
		want          string
	}{
		"the sessions that there are not": {"SESS 1.6", "", 3, want},
		"sessions of a form not known":    {"SESS 1.7", "", 0, newer},
		"changes of a form not known":     {"SESS 1.6", strange, 0, newer + strange},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, content string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640))
			}

			write("metadata.mfs.back", string(saved(100, test.section, 7, 8)))
			write("metadata.mfs.back.1", string(saved(50, test.section, 9)))
			write("changelog.1.mfs", older)
			write("changelog.0.mfs", newer+test.more)

			before, err := ReadSource(dir)
			require.NoError(t, err)

			n, err := IdleUnknownSessions(dir)
			require.NoError(t, err)
			require.Equal(t, test.n, n)

			got, err := os.ReadFile(filepath.Join(dir, "changelog.0.mfs"))
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))

			got, err = os.ReadFile(filepath.Join(dir, "changelog.1.mfs"))
			require.NoError(t, err)
			require.Equal(t, older, string(got), "what the metadata has already stays as it is")

			after, err := ReadSource(dir)
			require.NoError(t, err)
			require.Equal(t, before.Version, after.Version)

			n, err = IdleUnknownSessions(dir)
			require.NoError(t, err)
			require.Zero(t, n, "nothing is left")

			left, err := filepath.Glob(filepath.Join(dir, ".*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestIdleUnknownSessionsWithoutMetadata(t *testing.T) {
	n, err := IdleUnknownSessions(t.TempDir())
	require.NoError(t, err)
	require.Zero(t, n)

	// Cut short in the middle of the sessions, with the mark at its end all the same.
	dir := t.TempDir()
	whole := saved(100, "SESS 1.6", 7, 8)
	cut := string(whole[:100]) + strings.Repeat("x", 7) + eofMark
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metadata.mfs"), []byte(cut), 0o640))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "changelog.0.mfs"), []byte("100: 1|SESDEL(9)\n"), 0o640))

	n, err = IdleUnknownSessions(dir)
	require.NoError(t, err)
	require.Zero(t, n)
}
