package metadata

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"antler/services/authority"
	"antler/services/replication"
)

func TestExpectedChunkservers(t *testing.T) {
	who := authority.AuthorityStatusSpec{Members: []authority.MemberStatus{
		{Name: "n1", Alive: true, Roles: []string{"metadata", "chunkserver"}},
		{Name: "n2", Alive: true, Roles: []string{"metadata", "chunkserver"}},
		{Name: "n3", Alive: true, Roles: []string{"witness"}},
		{Name: "n4", Roles: []string{"chunkserver"}},
	}}

	assert.Equal(t, 1, expectedChunkservers(&who, 1))
	assert.Equal(t, 2, expectedChunkservers(&who, 2))
	assert.Equal(t, 2, expectedChunkservers(&who, 3), "the third copy has nowhere to go")

	who.Members[0].Alive = false
	assert.Equal(t, 1, expectedChunkservers(&who, 2), "who is dead is not waited for")
}

func TestWantedMaster(t *testing.T) {
	const epoch = 7

	holder := authority.AuthorityStatusSpec{Self: "n1", Epoch: epoch, IsHolder: true, LeaseValid: true, Formatted: true, MetaVersion: 42, MetadataID: 9}

	with := func(change func(*authority.AuthorityStatusSpec)) authority.AuthorityStatusSpec {
		who := holder
		change(&who)

		return who
	}

	ready := replication.ReplicaStatusSpec{
		Phase: replication.PhaseUp, Role: replication.RolePrimary, Disk: "UpToDate", Epoch: epoch, Device: "/dev/drbd0",
	}

	but := func(change func(*replication.ReplicaStatusSpec)) replication.ReplicaStatusSpec {
		replica := ready
		change(&replica)

		return replica
	}

	secondary := but(func(r *replication.ReplicaStatusSpec) { r.Role = replication.RoleSecondary })
	// So it is for a moment after a start of antlerd on a serving node.
	adopted := but(func(r *replication.ReplicaStatusSpec) { r.Epoch = 0 })
	untold := replication.ReplicaStatusSpec{}
	diskless := but(func(r *replication.ReplicaStatusSpec) { r.Disk = "Diskless" })
	frozen := but(func(r *replication.ReplicaStatusSpec) { r.Suspended = "fencing" })
	suspended := but(func(r *replication.ReplicaStatusSpec) { r.Suspended = "user" })
	complaining := but(func(r *replication.ReplicaStatusSpec) { r.Error = "split brain" })

	running := &MasterSpecSpec{Run: true, Epoch: epoch}
	runningBefore := &MasterSpecSpec{Run: true, Epoch: epoch - 1}

	for _, c := range []struct {
		name    string
		who     authority.AuthorityStatusSpec
		replica replication.ReplicaStatusSpec
		before  *MasterSpecSpec
		decided bool
		run     bool
		stop    StopMode
	}{
		{"granted and promoted", holder, ready, nil, true, true, StopKill},
		{"granted, not yet promoted", holder, secondary, nil, true, false, StopKill},
		{"it serves", holder, ready, running, true, true, StopKill},
		{"the lease is lost", with(func(w *authority.AuthorityStatusSpec) { w.LeaseValid = false }), ready, running, true, false, StopKill},
		{"another holds", with(func(w *authority.AuthorityStatusSpec) { w.IsHolder = false }), ready, running, true, false, StopKill},
		{"switchover", with(func(w *authority.AuthorityStatusSpec) { w.Target = "n2" }), ready, running, true, false, StopClean},
		{"this node goes down", with(func(w *authority.AuthorityStatusSpec) { w.Leaving = true }), ready, running, true, false, StopClean},
		{"switchover to this node", with(func(w *authority.AuthorityStatusSpec) { w.Target = "n1" }), ready, running, true, true, StopKill},

		{"antlerd starts: the lease isn't known", with(func(w *authority.AuthorityStatusSpec) { w.Starting, w.LeaseValid = true, false }), ready, nil, false, false, ""},
		{"antlerd starts: the kernel hasn't told", holder, untold, nil, false, false, ""},
		{"antlerd starts: the epoch of the replica isn't known", holder, adopted, nil, false, false, ""},
		{"antlerd starts: no lease any more", with(func(w *authority.AuthorityStatusSpec) { w.LeaseValid = false }), untold, nil, true, false, StopKill},

		{"frozen for the quorum's word", holder, frozen, running, true, true, StopKill},
		{"suspended for another reason", holder, suspended, running, true, false, StopKill},
		{"the disk failed", holder, diskless, running, true, false, StopKill},
		{"no longer primary", holder, secondary, running, true, false, StopKill},
		{"trouble with the peer", holder, complaining, running, true, true, StopKill},
		{"the next epoch on the same node", holder, ready, runningBefore, true, true, StopKill},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, decided := wantedMaster(&c.who, &c.replica, c.before)

			assert.Equal(t, c.decided, decided)

			if !decided {
				return
			}

			assert.Equal(t, c.run, got.Run)
			assert.Equal(t, c.stop, got.Stop)
			assert.Equal(t, uint64(42), got.MinMetaVersion)
			assert.Equal(t, uint64(9), got.MetadataID)
			assert.Equal(t, uint64(epoch), got.Epoch)
			assert.False(t, got.Format)
		})
	}
}
