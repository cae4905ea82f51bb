package replication

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNext(t *testing.T) {
	const epoch = 7

	up := kernel{
		known: true, exists: true, role: RoleSecondary, disk: diskUpToDate, connection: connected,
		peerRole: RoleSecondary, peerDisk: diskUpToDate, replication: "Established",
	}
	fresh := up
	fresh.disk, fresh.peerDisk = diskInconsistent, diskInconsistent

	with := func(k kernel, change func(*kernel)) kernel {
		change(&k)

		return k
	}

	primary := with(up, func(k *kernel) { k.role = RolePrimary })
	frozen := with(primary, func(k *kernel) { k.suspended, k.connection = suspendedFencing, "Connecting" })

	unwritten := with(primary, func(k *kernel) { k.peerDisk = diskInconsistent })

	serve := ReplicaSpecSpec{Device: "/dev/vdb", Peer: "n2", ConsentID: "c", Formatted: true, Role: RolePrimary, Epoch: epoch}
	trusting := serve
	trusting.PeerTrusted = true
	rest := serve
	rest.Role = RoleSecondary
	first := serve
	first.Formatted, first.First = false, true
	alone := first
	alone.Peer = ""
	restored := first
	restored.Restored = true
	force := serve
	force.Force = true
	forceDown := rest
	forceDown.Force = true
	noConsent := rest
	noConsent.ConsentID = ""
	keep := rest
	keep.Role = ""

	apart := with(up, func(k *kernel) { k.connection, k.splitBrain = standAlone, true })
	discard := rest
	discard.Discard = true
	discardAndServe := serve
	discardAndServe.Discard = true
	winner := serve
	winner.PeerDiscards = true

	for _, c := range []struct {
		name string
		s    situation
		want step
	}{
		{"nothing is wanted", situation{kernel: up}, stepNone},
		{"the kernel has not told yet", situation{spec: &serve}, stepNone},
		{"nobody has looked at the device", situation{spec: &rest, kernel: kernel{known: true}}, stepInspect},
		{"blank without consent", situation{spec: &noConsent, kernel: kernel{known: true}, found: finding{phase: PhaseBlank}}, stepNone},
		{"blank with consent", situation{spec: &rest, kernel: kernel{known: true}, found: finding{phase: PhaseBlank}}, stepCreate},
		{"refused, whatever the consent", situation{spec: &rest, kernel: kernel{known: true}, found: finding{phase: PhaseRefused}}, stepNone},
		{"missing", situation{spec: &rest, kernel: kernel{known: true}, found: finding{phase: PhaseMissing}}, stepNone},
		{"ours", situation{spec: &noConsent, kernel: kernel{known: true}, found: finding{phase: PhaseDown}}, stepUp},
		{"as it should be", situation{spec: &serve, kernel: primary}, stepNone},
		{"adopted: what is primary stays so", situation{spec: &keep, kernel: primary}, stepNone},
		{"adopted: what is secondary stays so", situation{spec: &keep, kernel: up}, stepNone},

		{"promote", situation{spec: &serve, kernel: up}, stepPromote},
		{"out of it by force: not promoted again", situation{spec: &force, kernel: up}, stepNone},
		{"DRBD 9 lacks its quorum", situation{spec: &serve, kernel: with(frozen, func(k *kernel) { k.suspended = suspendedQuorum })}, stepFence},
		{"frozen for another reason as well", situation{spec: &serve, kernel: with(frozen, func(k *kernel) { k.suspended = "user,quorum" })}, stepNone},
		{"DRBD 9, out by force: nobody is outdated", situation{spec: &force, kernel: with(frozen, func(k *kernel) {
			k.role, k.suspended = RoleSecondary, suspendedQuorum
		})}, stepNone},
		{"promote with the peer gone", situation{spec: &serve, kernel: with(up, func(k *kernel) { k.connection, k.disk = "Connecting", diskConsistent })}, stepPromote},
		{"given up in this epoch", situation{spec: &serve, kernel: up, failedEpoch: epoch}, stepNone},
		{"given up in an epoch before", situation{spec: &serve, kernel: up, failedEpoch: epoch - 1}, stepPromote},
		{"demote", situation{spec: &rest, kernel: primary}, stepDemote},

		{"two fresh replicas are declared equal", situation{spec: &first, kernel: fresh}, stepEqual},
		{"but not without the peer", situation{spec: &first, kernel: with(fresh, func(k *kernel) { k.connection = "Connecting" })}, stepNone},
		{"nor with a peer that has data", situation{spec: &first, kernel: with(fresh, func(k *kernel) { k.peerDisk = diskUpToDate })}, stepNone},
		{"nor once it was formatted", situation{spec: &serve, kernel: fresh}, stepPromote},
		{"declared equal: the peer is connected to anew", situation{spec: &first, kernel: with(up, func(k *kernel) { k.connection, k.peerDisk = standAlone, "" })}, stepConnect},
		{"which takes a moment", situation{spec: &first, kernel: with(up, func(k *kernel) { k.connection, k.peerDisk = "Connecting", "DUnknown" })}, stepNone},
		{"and it has heard of it", situation{spec: &first, kernel: up}, stepPromote},
		{"or gets all blocks", situation{spec: &first, kernel: with(up, func(k *kernel) { k.peerDisk, k.replication = diskInconsistent, "SyncSource" })}, stepPromote},
		{"the peer is not written to, and the quorum doesn't know", situation{spec: &trusting, kernel: unwritten}, stepFence},
		{"the quorum knows", situation{spec: &serve, kernel: unwritten}, stepNone},
		{"a peer whose disk is not known yet", situation{spec: &trusting, kernel: with(primary, func(k *kernel) { k.peerDisk = "DUnknown" })}, stepNone},
		{"restored: not equal, but the first version", situation{spec: &restored, kernel: fresh}, stepFirst},
		{"restored, without the peer", situation{spec: &restored, kernel: with(fresh, func(k *kernel) { k.connection = "Connecting" })}, stepFirst},
		{"restored, but the peer has data", situation{spec: &restored, kernel: with(fresh, func(k *kernel) { k.peerDisk = diskUpToDate })}, stepNone},
		{"restored on a replica that has data", situation{spec: &restored, kernel: up}, stepPromote},
		{"the only replica is the first version", situation{spec: &alone, kernel: with(fresh, func(k *kernel) { k.connection = "" })}, stepFirst},
		{"the only replica, later", situation{spec: &alone, kernel: with(up, func(k *kernel) { k.connection = "" })}, stepPromote},

		{"frozen: the handler is being answered", situation{spec: &serve, kernel: frozen, fencing: true}, stepNone},
		{"frozen: nobody asks the quorum any more", situation{spec: &serve, kernel: frozen}, stepFence},
		{"frozen and the lease lost", situation{spec: &force, kernel: frozen}, stepBreak},
		{"frozen, unmounted, and the lease lost", situation{spec: &forceDown, kernel: frozen}, stepBreak},
		{"force without a freeze takes nothing away", situation{spec: &force, kernel: primary}, stepNone},
		{"broken off, still primary", situation{spec: &rest, broken: true, kernel: with(primary, func(k *kernel) { k.disk = diskDiskless })}, stepDemote},
		{"broken off, secondary", situation{spec: &rest, broken: true, kernel: with(up, func(k *kernel) { k.disk = diskDiskless })}, stepRecycle},

		{"broken off: it is the peer that shall go on", situation{spec: &serve, broken: true, kernel: frozen}, stepNone},
		{"a failed disk: it is the peer that shall go on", situation{spec: &serve, kernel: with(frozen, func(k *kernel) { k.disk, k.failures = diskFailed, 1 })}, stepNone},
		{"a primary whose disk failed is not given it back", situation{spec: &serve, kernel: with(primary, func(k *kernel) { k.disk = diskDiskless }), lost: true}, stepNone},
		{"nor with another configuration", situation{spec: &serve, lost: true, stale: true, kernel: with(primary, func(k *kernel) { k.disk = diskDiskless })}, stepNone},
		{"nor by becoming primary of what the peer has", situation{spec: &serve, lost: true, kernel: with(up, func(k *kernel) { k.disk = diskDiskless })}, stepNone},
		{"nor a secondary", situation{spec: &rest, lost: true, kernel: with(up, func(k *kernel) { k.disk = diskDiskless })}, stepNone},
		{"the peer, without its disk as well, has what this one lacks", situation{spec: &trusting, lost: true, kernel: with(unwritten, func(k *kernel) { k.disk, k.peerDisk = diskDiskless, diskDiskless })}, stepNone},
		{"broken off: no connection before it has its disk again", situation{spec: &force, broken: true, kernel: with(primary, func(k *kernel) { k.disk, k.connection = diskDiskless, standAlone })}, stepNone},

		{"half configured", situation{spec: &rest, kernel: with(up, func(k *kernel) { k.disk = diskDiskless })}, stepUp},
		{"the disk failed: it is not attached again", situation{spec: &rest, kernel: with(up, func(k *kernel) { k.disk, k.failures = diskDiskless, 1 }), lost: true}, stepNone},
		{"another configuration", situation{spec: &serve, kernel: primary, stale: true}, stepUp},
		{"another configuration, but I/O is frozen", situation{spec: &serve, kernel: frozen, stale: true, fencing: true}, stepNone},

		{"standing alone", situation{spec: &serve, kernel: with(primary, func(k *kernel) { k.connection = standAlone })}, stepConnect},
		{"split brain waits for a person", situation{spec: &rest, kernel: with(up, func(k *kernel) { k.connection, k.splitBrain = standAlone, true })}, stepNone},
		{"split brain: this side is given up", situation{spec: &discard, kernel: apart}, stepDiscard},
		{"but not while it is primary", situation{spec: &discard, kernel: with(apart, func(k *kernel) { k.role = RolePrimary })}, stepDemote},
		{"nor while it is asked to be", situation{spec: &discardAndServe, failedEpoch: epoch, kernel: with(apart, func(k *kernel) { k.role = RolePrimary })}, stepNone},
		{"nor while the peer is looked for", situation{spec: &discard, kernel: with(apart, func(k *kernel) { k.connection = "Connecting" })}, stepNone},
		{"given up, but there is no split brain (any more)", situation{spec: &discard, kernel: with(apart, func(k *kernel) { k.splitBrain = false })}, stepConnect},
		{"split brain: the other side is given up", situation{spec: &winner, kernel: with(apart, func(k *kernel) { k.role = RolePrimary })}, stepConnect},
		{"a cluster of one has nobody to connect to", situation{spec: &alone, kernel: with(primary, func(k *kernel) { k.connection = standAlone })}, stepNone},
		{"resync", situation{spec: &rest, kernel: with(up, func(k *kernel) { k.replication = "SyncTarget" })}, stepMeasure},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, next(c.s))
		})
	}
}

func TestAStepEndsWithItsReason(t *testing.T) {
	begun := &ReplicaSpecSpec{Role: RolePrimary, Epoch: 3}

	assert.True(t, stepPromote.stillWanted(begun, &ReplicaSpecSpec{Role: RolePrimary, Epoch: 3}))
	assert.False(t, stepPromote.stillWanted(begun, &ReplicaSpecSpec{Role: RoleSecondary, Epoch: 3}))
	assert.False(t, stepPromote.stillWanted(begun, &ReplicaSpecSpec{Role: RolePrimary, Epoch: 4}))
	assert.False(t, stepFence.stillWanted(begun, nil))
	assert.True(t, stepDiscard.stillWanted(begun, &ReplicaSpecSpec{Discard: true, Epoch: 3}))
	assert.False(t, stepDiscard.stillWanted(begun, &ReplicaSpecSpec{Discard: true, Epoch: 4}), "a person's word is good for its epoch")
	assert.False(t, stepDiscard.stillWanted(begun, &ReplicaSpecSpec{Epoch: 3}))
	assert.True(t, stepDemote.stillWanted(begun, nil), "a demotion is finished")
}
