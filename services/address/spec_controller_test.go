package address

import (
	"context"
	"net/netip"
	"testing"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/node"
	"antler/services/node/config"
)

func TestDecide(t *testing.T) {
	const epoch = 7

	holder := authority.AuthorityStatusSpec{Epoch: epoch, IsHolder: true, LeaseValid: true}
	noLease := authority.AuthorityStatusSpec{Epoch: epoch, IsHolder: true}
	noHolder := authority.AuthorityStatusSpec{Epoch: epoch}
	starting := authority.AuthorityStatusSpec{Starting: true}

	master := func(phase metadata.Phase, epoch uint64, answering bool) *metadata.MasterStatusSpec {
		return &metadata.MasterStatusSpec{Phase: phase, Epoch: epoch, Answering: answering}
	}
	serving := master(metadata.PhaseServing, epoch, true)
	held := &AddressSpecSpec{Hold: true, Epoch: epoch}
	heldBefore := &AddressSpecSpec{Hold: true, Epoch: epoch - 1}
	free := &AddressSpecSpec{Epoch: epoch}

	for _, c := range []struct {
		name   string
		record authority.AuthorityStatusSpec
		master *metadata.MasterStatusSpec
		before *AddressSpecSpec
		want   verdict
	}{
		{"everything as it should be", holder, serving, free, hold},
		{"still so", holder, serving, held, hold},
		{"adopted after a restart of antlerd", holder, serving, nil, hold},
		{"the lease is lost", noLease, serving, held, release},
		{"another node holds", noHolder, serving, held, release},
		{"a master of another epoch", holder, master(metadata.PhaseServing, epoch-1, true), heldBefore, release},
		{"a new epoch on the same node", holder, serving, heldBefore, hold},
		{"no answer yet", holder, master(metadata.PhaseServing, epoch, false), free, release},
		{"one probe was missed", holder, master(metadata.PhaseServing, epoch, false), held, hold},
		{"one probe was missed, but held in an older epoch", holder, master(metadata.PhaseServing, epoch, false), heldBefore, release},
		{"restarted in place", holder, master(metadata.PhaseRestarting, epoch, false), held, hold},
		{"restarted before it ever answered", holder, master(metadata.PhaseRestarting, epoch, false), free, release},
		{"restarted in place without a lease", noLease, master(metadata.PhaseRestarting, epoch, false), held, release},
		{"stopping", holder, master(metadata.PhaseStopping, epoch, true), held, release},
		{"unmounting", holder, master(metadata.PhaseUnmounting, epoch, false), held, release},
		{"failed", holder, master(metadata.PhaseFailed, epoch, true), held, release},
		{"stopped", holder, master(metadata.PhaseStopped, epoch, false), nil, release},
		{"on the way up", holder, master(metadata.PhaseMounting, epoch, false), free, release},
		{"on the way up again, which is no restart in place", holder, master(metadata.PhaseStarting, epoch, false), held, release},
		{"antlerd restarts: the lease is not known yet", starting, serving, nil, undecided},
		{"antlerd restarts: the master is not known yet", holder, nil, nil, undecided},
		{"antlerd restarts: the master is being looked at", holder, master(metadata.PhaseStarting, epoch, false), nil, undecided},
		{"antlerd restarts: what runs was not found yet", holder, master(metadata.PhaseStopped, 0, false), nil, undecided},
		{"antlerd restarts: it is known that another node holds", noHolder, nil, nil, release},
		{"the master's status is gone", holder, nil, held, release},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, decide(c.record, c.master, c.before))
		})
	}
}

// engine runs controllers on a state in memory until the test ends.
func engine(t *testing.T, controllers ...controller.Controller) (context.Context, state.State) {
	t.Helper()

	st := state.WrapCore(namespaced.NewState(inmem.Build))

	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)

	for _, c := range controllers {
		require.NoError(t, rt.RegisterController(c))
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)

	go func() { done <- rt.Run(ctx) }()

	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})

	return ctx, st
}

func update[R resource.Resource](ctx context.Context, t *testing.T, st state.State, res R, change func(R)) {
	t.Helper()

	_, err := st.UpdateWithConflicts(ctx, res.Metadata(), func(r resource.Resource) error {
		change(r.(R))

		return nil
	})
	require.NoError(t, err)
}

func TestSpecControllerFollowsLeaseAndMaster(t *testing.T) {
	ctx, st := engine(t, &SpecController{})

	cfg := &config.Config{}
	cfg.Cluster.Floating = []netip.Prefix{netip.MustParsePrefix("10.77.0.100/24")}
	cfg.Cluster.Nodes, cfg.Node.Name = []config.Member{{Name: "n1", Roles: []config.Role{config.RoleMetadata}}}, "n1"

	record := authority.NewAuthorityStatus()
	record.TypedSpec().Starting = true

	master := metadata.NewMasterStatus()
	master.TypedSpec().Phase, master.TypedSpec().Epoch, master.TypedSpec().Answering = metadata.PhaseServing, 3, true

	require.NoError(t, st.Create(ctx, node.NewNodeConfig(cfg)))
	require.NoError(t, st.Create(ctx, record))
	require.NoError(t, st.Create(ctx, master))

	update(ctx, t, st, record, func(r *authority.AuthorityStatus) {
		*r.TypedSpec() = authority.AuthorityStatusSpec{Epoch: 3, IsHolder: true, LeaseValid: true}
	})
	rtestutils.AssertResource(ctx, t, st, AddressSpecID, func(r *AddressSpec, a *assert.Assertions) {
		a.True(r.TypedSpec().Hold)
		a.EqualValues(3, r.TypedSpec().Epoch)
		a.Equal([]string{"10.77.0.100/24"}, r.TypedSpec().Addresses)
	})

	update(ctx, t, st, record, func(r *authority.AuthorityStatus) { r.TypedSpec().LeaseValid = false })
	rtestutils.AssertResource(ctx, t, st, AddressSpecID, func(r *AddressSpec, a *assert.Assertions) {
		a.False(r.TypedSpec().Hold)
		a.True(r.TypedSpec().Candidate)
		a.Equal([]string{"10.77.0.100/24"}, r.TypedSpec().Addresses, "so that it is known what to take off")
	})
}
