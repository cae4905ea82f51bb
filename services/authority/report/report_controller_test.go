package report_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/authority/report"
	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/replication"
)

// listener hands every report to the test.
type listener chan authority.Report

func (l listener) Report(r authority.Report) { l <- r }

// Package authority can't import these, and decides by them.
func TestWordsThatTheLeaderDecidesBy(t *testing.T) {
	require.EqualValues(t, "blank", replication.PhaseBlank)
	require.EqualValues(t, "up", replication.PhaseUp)
}

func TestReportFollowsTheStatuses(t *testing.T) {
	reports := make(listener)
	st := state.WrapCore(namespaced.NewState(inmem.Build))

	rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, rt.RegisterController(&report.Controller{Authority: reports, Version: "1.2"}))

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)

	var wg sync.WaitGroup

	wg.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})

	until := func(is func(authority.Report) bool) authority.Report {
		for {
			select {
			case r := <-reports:
				if is(r) {
					return r
				}
			case <-ctx.Done():
				require.Fail(t, "timeout")
			}
		}
	}

	replica := replication.NewReplicaStatus()
	*replica.TypedSpec() = replication.ReplicaStatusSpec{Phase: replication.PhaseUp, Disk: "UpToDate", Role: replication.RolePrimary}
	require.NoError(t, st.Create(ctx, replica))
	until(func(r authority.Report) bool {
		return r.Replica == authority.ReplicaReport{Phase: "up", Disk: "UpToDate", Role: "Primary"}
	})

	master := metadata.NewMasterStatus()
	*master.TypedSpec() = metadata.MasterStatusSpec{Phase: metadata.PhaseServing, Epoch: 3, MetaVersion: 9}
	require.NoError(t, st.Create(ctx, master))

	process := containers.NewContainerStatus("master")
	process.TypedSpec().Running = true
	require.NoError(t, st.Create(ctx, process))

	r := until(func(r authority.Report) bool { return r.Master.Phase == "serving" && r.Services["master"] == "running" })
	require.EqualValues(t, 3, r.Master.Epoch)
	require.EqualValues(t, 9, r.Master.MetaVersion)
	require.Equal(t, "1.2", r.Version)

	floating := address.NewAddressStatus()
	floating.TypedSpec().Held, floating.TypedSpec().Error = []string{"10.0.0.9"}, "somebody else claims it"
	require.NoError(t, st.Create(ctx, floating))
	until(func(r authority.Report) bool {
		return slices.Equal(r.Addresses, []string{"10.0.0.9"}) && r.AddressError == "somebody else claims it"
	})

	// The controller may be waiting for somebody to take its report.
	cancel()

	done := make(chan struct{})

	go func() { wg.Wait(); close(done) }()

	for {
		select {
		case <-reports:
		case <-done:
			return
		}
	}
}
