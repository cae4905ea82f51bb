package resources_test

import (
	"testing"

	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"

	"antler/services/metadata"
	"antler/services/resources"
)

func TestWhatIsNotThereIsNil(t *testing.T) {
	st := state.WrapCore(namespaced.NewState(inmem.Build))

	res, err := resources.Read[*metadata.MasterStatus](t.Context(), st, metadata.MasterStatusID)
	require.NoError(t, err)
	require.Nil(t, res)

	spec, err := resources.Spec[*metadata.MasterStatus](t.Context(), st, metadata.MasterStatusID)
	require.NoError(t, err)
	require.Nil(t, spec)

	master := metadata.NewMasterStatus()
	master.TypedSpec().Epoch = 5
	require.NoError(t, st.Create(t.Context(), master))

	res, err = resources.Read[*metadata.MasterStatus](t.Context(), st, metadata.MasterStatusID)
	require.NoError(t, err)
	require.EqualValues(t, 5, res.TypedSpec().Epoch)

	spec, err = resources.Spec[*metadata.MasterStatus](t.Context(), st, metadata.MasterStatusID)
	require.NoError(t, err)
	require.EqualValues(t, 5, spec.Epoch)
}
