package authority

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func entry(t *testing.T, index, term uint64, c Command) *raft.Log {
	t.Helper()

	raw, err := c.Encode()
	require.NoError(t, err)

	return &raft.Log{Index: index, Term: term, Data: raw}
}

// A leader that lost its term and won another one before its grant got into the
// log decided with a memory that is out of date.
func TestGrantCountsOnlyInTheTermInWhichItWasDecided(t *testing.T) {
	for _, kind := range []Kind{KindForceGrant, KindRestore} {
		r := &replicated{changed: func() {}}

		out, ok := r.Apply(entry(t, 1, 5, Command{Kind: kind, Epoch: 1, Node: "n1", Term: 4, Who: "ann", Why: "fire"})).(outcome)
		require.True(t, ok)
		require.ErrorIs(t, out.err, ErrStaleTerm, kind)
	}

	r := &replicated{changed: func() {}}
	r.Apply(entry(t, 1, 4, Command{Kind: KindConsent, ConsentID: "c", Replicas: []string{"n1"}}))

	grant := Command{Kind: KindGrant, Epoch: 1, Node: "n1", Term: 4}

	out, ok := r.Apply(entry(t, 2, 5, grant)).(outcome)
	require.True(t, ok)
	require.ErrorIs(t, out.err, ErrStaleTerm)
	require.Zero(t, out.state.Epoch)
	require.EqualValues(t, 2, out.index)

	out, ok = r.Apply(entry(t, 3, 4, grant)).(outcome)
	require.True(t, ok)
	require.NoError(t, out.err)
	require.EqualValues(t, 1, out.state.Epoch)
}

func TestGarbageInTheLogIsRejected(t *testing.T) {
	r := &replicated{changed: func() {}}

	out, ok := r.Apply(&raft.Log{Index: 1, Term: 1, Data: []byte("garbage that is long enough")}).(outcome)
	require.True(t, ok)
	require.ErrorIs(t, out.err, ErrMalformed)
}

func TestRestoreTakesOverTheRecord(t *testing.T) {
	told := 0
	r := &replicated{changed: func() { told++ }}
	raw, err := EncodeState(State{Epoch: 3, Holder: "n1"}, 17)
	require.NoError(t, err)

	require.NoError(t, r.Restore(io.NopCloser(bytes.NewReader(raw))))

	state, index := r.read()
	require.EqualValues(t, 3, state.Epoch)
	require.EqualValues(t, 17, index)
	require.Equal(t, 1, told)
	require.Error(t, r.Restore(io.NopCloser(bytes.NewReader([]byte(`{"v":99}`)))))
}
