package metadata

import (
	"testing"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
)

func TestServing(t *testing.T) {
	st := state.WrapCore(namespaced.NewState(inmem.Build))

	found, err := Serving(t.Context(), st)
	require.NoError(t, err)
	require.Nil(t, found, "nothing is known yet")

	master := NewMasterStatus()
	*master.TypedSpec() = MasterStatusSpec{Phase: PhaseSaving, Epoch: 5, Answering: true}
	require.NoError(t, st.Create(t.Context(), master))

	found, err = Serving(t.Context(), st)
	require.NoError(t, err)
	require.Nil(t, found)

	*master.TypedSpec() = MasterStatusSpec{Phase: PhaseServing, Epoch: 6}
	require.NoError(t, st.Update(t.Context(), master))

	found, err = Serving(t.Context(), st)
	require.NoError(t, err)
	require.Equal(t, MasterStatusSpec{Phase: PhaseServing, Epoch: 6}, *found)
}
