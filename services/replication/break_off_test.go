package replication

import (
	"slices"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// The lease is lost while I/O is frozen: what is frozen must not reach a disk.
func TestForce(t *testing.T) {
	b := newBench(t, frozenPrimary()...)

	b.want(func(s *ReplicaSpecSpec) { s.Role, s.Epoch, s.Formatted, s.Force = RolePrimary, 3, true, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal("Diskless", s.Disk)
		a.Empty(s.Suspended)
		a.False(s.ReadyFor(3))
		a.Zero(s.IOErrors, "it was not the disk's fault")
	})

	b.want(func(s *ReplicaSpecSpec) { s.Epoch, s.Formatted = 4, true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(PhaseUp, s.Phase)
		a.Equal(RoleSecondary, s.Role)
		a.Equal(uint64(4), s.Epoch)
	})
	assert.Equal(t, []string{"detach 0 --force", "resume-io 0", "secondary 0", "down meta", "adjust meta"}, b.drbd.commands())
}

// holding is the record while this node holds epoch 3, with or without a lease.
func holding(lease bool) authority.AuthorityStatusSpec {
	return authority.AuthorityStatusSpec{Self: "n1", IsHolder: true, Epoch: 3, Formatted: true, ConsentID: "consent", LeaseValid: lease}
}

// serves waits until the replica is the primary of epoch 3 (again).
func (b *bench) serves() {
	b.t.Helper()

	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.False(s.BrokenOff)
		a.Equal(RolePrimary, s.Role)
		a.Equal(uint64(3), s.Epoch)
	})
	assert.False(b.t, b.handler.refusing.Load())
	assert.False(b.t, b.mark.there())
}

// The lease comes back, for the same epoch, after the disk was let go of.
func TestWhatIsBrokenOffServesAgainOnlyFromItsStart(t *testing.T) {
	b := newBench(t, frozenPrimary()...)
	b.decide(holding(false), DeviceUseSpec{Mounted: true})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.True(s.BrokenOff)
		a.Empty(s.Suspended)
	})
	assert.Contains(t, b.events.all(), "replication.broken-off")
	assert.NotContains(t, b.events.all(), "replication.io-error")
	assert.True(t, b.handler.refusing.Load(), "nobody has the peer outdated")
	assert.True(t, b.mark.there())

	update(b, authority.NewAuthorityStatus(), func(r *authority.AuthorityStatus) { r.TypedSpec().LeaseValid = true })
	update(b, NewDeviceUse(), func(r *DeviceUse) { r.TypedSpec().Mounted = false })
	b.serves()
	assert.Equal(t, []string{"detach 0 --force", "resume-io 0", "secondary 0", "down meta", "adjust meta", "primary 0"}, b.drbd.commands())
}

// The lease comes back before the frozen I/O has ended.
func TestWhatIsBeingBrokenOffIsEnded(t *testing.T) {
	b := newBench(t, frozenPrimary()...)
	b.drbd.refuse["resume-io 0"] = slices.Repeat([]error{refusal("(-1) not yet")}, 100)
	b.decide(holding(false), DeviceUseSpec{})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.BrokenOff) })

	update(b, authority.NewAuthorityStatus(), func(r *authority.AuthorityStatus) { r.TypedSpec().LeaseValid = true })
	rtestutils.AssertResource(b.ctx, t, b.state, ReplicaSpecID, func(r *ReplicaSpec, a *assert.Assertions) {
		a.True(r.TypedSpec().Force)
		a.Equal(RoleSecondary, r.TypedSpec().Role)
	})
	b.drbd.allow("resume-io 0")
	b.serves()

	commands := b.drbd.commands()
	assert.Equal(t, []string{"resume-io 0", "secondary 0", "down meta", "adjust meta", "primary 0"}, commands[len(commands)-5:])
}

func disklessPrimary() []string {
	return []string{
		"exists resource name:meta role:Primary suspended:no",
		"exists connection name:meta peer-node-id:0 conn-name:peer connection:Connecting role:Unknown",
		"exists device name:meta volume:0 minor:0 disk:Diskless",
		"exists peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown",
	}
}

// antlerd was restarted after it had let go of the disk.
func TestABrokenOffPrimaryIsRecognised(t *testing.T) {
	b := newBenchAfter(t, func(b *bench) { require.NoError(t, b.mark.set()) }, Version84, disklessPrimary()...)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.True(s.BrokenOff)
		a.Zero(s.IOErrors)
	})
	assert.True(t, b.handler.refusing.Load())

	b.decide(holding(true), DeviceUseSpec{})
	b.serves()
	assert.Equal(t, []string{"secondary 0", "down meta", "adjust meta", "primary 0"}, b.drbd.commands())
}

// antlerd was restarted when all was done but to take the mark away, or nothing was done
// but to make it.
func TestASecondaryWithItsDiskIsNotBrokenOff(t *testing.T) {
	b := newBenchAfter(t, func(b *bench) { require.NoError(t, b.mark.set()) }, Version84, running(RoleSecondary)...)
	b.decide(holding(true), DeviceUseSpec{})
	b.serves()
	assert.Equal(t, []string{"primary 0"}, b.drbd.commands(), "it is not taken down under a peer that serves")
}

// What was written since went to the peer alone: it is the peer that shall serve.
func TestADiskThatWasLostIsNotAttachedAgain(t *testing.T) {
	for name, before := range map[string]func(*bench){
		"seen":                           func(*bench) {},
		"by the antlerd before this one": func(b *bench) { require.NoError(t, b.loss.set()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchAfter(t, before, Version84, disklessPrimary()...)

			record := holding(true)
			record.UpToDate = []string{"n1", "n2"}
			b.decide(record, DeviceUseSpec{Mounted: true})
			b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
				a.False(s.BrokenOff)
				a.Equal(1, s.IOErrors)
				a.Contains(s.Error, "replace it")
			})
			assert.True(t, b.handler.refusing.Load(), "nobody has the peer outdated")

			update(b, NewDeviceUse(), func(r *DeviceUse) { r.TypedSpec().Mounted = false })
			b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
				a.Equal(RoleSecondary, s.Role)
				a.Equal(1, s.IOErrors, "also after that")
			})
			assert.True(t, b.loss.there())
			assert.Equal(t, []string{"secondary 0"}, b.drbd.commands())
		})
	}
}

// It was lost, and then the I/O froze as well.
func TestALostDiskIsNotLetGoOf(t *testing.T) {
	b := newBenchAfter(t, func(b *bench) { require.NoError(t, b.loss.set()) }, Version84,
		"exists resource name:meta role:Primary suspended:fencing",
		"exists connection name:meta peer-node-id:0 conn-name:peer connection:Connecting role:Unknown",
		"exists device name:meta volume:0 minor:0 disk:Diskless",
		"exists peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown")

	b.decide(holding(false), DeviceUseSpec{})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(RoleSecondary, s.Role)
		a.False(s.BrokenOff)
		a.Equal(1, s.IOErrors)
	})
	assert.Equal(t, []string{"resume-io 0", "secondary 0"}, b.drbd.commands())
	assert.False(t, b.mark.there())
}

// The kernel would die of the answer that comes afterwards.
func TestNothingIsTakenDownUnderItsHandler(t *testing.T) {
	b := newBench(t, frozenPrimary()...)
	b.drbd.helper.Store(true)
	b.decide(holding(false), DeviceUseSpec{})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.Equal(RoleSecondary, s.Role) })
	require.Eventually(t, func() bool { return b.drbd.looked.Load() > 2 }, 10*time.Second, time.Millisecond)
	assert.NotContains(t, b.drbd.commands(), "down meta")

	b.drbd.helper.Store(false)
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.False(s.BrokenOff) })
	assert.Contains(t, b.drbd.commands(), "down meta")
}

// One that can't begin anew must not keep the epoch.
func TestABrokenOffReplicaThatStaysSoIsTold(t *testing.T) {
	b := newBench(t, frozenPrimary()...)
	b.drbd.refuse["down meta"] = slices.Repeat([]error{refusal("(-12) Device is held open by someone")}, 100)
	b.decide(holding(false), DeviceUseSpec{})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) { a.True(s.BrokenOff) })

	update(b, authority.NewAuthorityStatus(), func(r *authority.AuthorityStatus) { r.TypedSpec().LeaseValid = true })
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(3), s.FailedEpoch)
		a.Contains(s.Error, "not attached again yet: attach the disk again: ")
		a.Contains(s.Error, "held open")
	})

	b.drbd.allow("down meta")
	b.serves()
}

// Nothing fails and nothing changes: the time alone tells.
func TestABrokenOffReplicaThatStaysMountedIsTold(t *testing.T) {
	b := newBench(t, frozenPrimary()...)
	b.decide(holding(false), DeviceUseSpec{Mounted: true})
	b.await(func(s ReplicaStatusSpec, a *assert.Assertions) {
		a.Equal(uint64(3), s.FailedEpoch)
		a.Contains(s.Error, "not attached again yet")
	})
}
