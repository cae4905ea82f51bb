package replication

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"antler/services/authority"
	"antler/services/node/config"
)

func TestDecide(t *testing.T) {
	cfg := &config.Config{
		Cluster: config.Cluster{Nodes: []config.Member{
			{Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), Roles: []config.Role{config.RoleMetadata}},
			{Name: "n2", Address: netip.MustParseAddr("10.0.0.2"), Roles: []config.Role{config.RoleMetadata}},
			{Name: "n3", Address: netip.MustParseAddr("10.0.0.3"), Roles: []config.Role{config.RoleWitness}},
		}},
		Node: config.Node{Name: "n1", Replica: config.Replica{Device: "/dev/vdb"}},
	}

	const epoch = 5

	record := func(change func(*authority.AuthorityStatusSpec)) *authority.AuthorityStatusSpec {
		r := authority.AuthorityStatusSpec{Epoch: epoch, Self: "n1", ConsentID: "c", Formatted: true, IsHolder: true, LeaseValid: true}
		change(&r)

		return &r
	}
	mine := record(func(*authority.AuthorityStatusSpec) {})
	lost := record(func(r *authority.AuthorityStatusSpec) { r.LeaseValid = false })
	others := record(func(r *authority.AuthorityStatusSpec) { r.IsHolder, r.LeaseValid, r.Epoch = false, false, epoch+1 })
	starting := record(func(r *authority.AuthorityStatusSpec) { r.Starting, r.LeaseValid = true, false })
	forming := record(func(r *authority.AuthorityStatusSpec) { r.Formatted = false })
	handover := record(func(r *authority.AuthorityStatusSpec) { r.Target = "n2" })
	yielded := record(func(r *authority.AuthorityStatusSpec) {
		r.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: epoch - 1}}
	})
	failed := record(func(r *authority.AuthorityStatusSpec) {
		r.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: epoch - 1, Failed: true}}
	})
	longAgo := record(func(r *authority.AuthorityStatusSpec) {
		r.GiveUps = map[string]authority.GiveUp{"n2": {Epoch: epoch - 2}}
	})
	both := record(func(r *authority.AuthorityStatusSpec) { r.UpToDate = []string{"n1", "n2"} })
	bothLost := record(func(r *authority.AuthorityStatusSpec) { r.UpToDate, r.LeaseValid = []string{"n1", "n2"}, false })
	leaving := record(func(r *authority.AuthorityStatusSpec) { r.Leaving = true })

	primary := &ReplicaStatusSpec{Role: RolePrimary}
	frozen := &ReplicaStatusSpec{Role: RolePrimary, Suspended: suspendedFencing}
	secondary := &ReplicaStatusSpec{Role: RoleSecondary}
	broken := &ReplicaStatusSpec{Role: RolePrimary, BrokenOff: true}
	lostDisk := &ReplicaStatusSpec{Role: RolePrimary, IOErrors: 1}
	breaking := &ReplicaStatusSpec{Role: RolePrimary, Suspended: suspendedFencing, BrokenOff: true}
	before := &ReplicaSpecSpec{Role: RolePrimary, Epoch: epoch}

	unused := &DeviceUseSpec{}
	serving := &DeviceUseSpec{Mounted: true, Alive: true}
	killed := &DeviceUseSpec{Mounted: true}

	type want struct {
		role                          Role
		epoch                         uint64
		first, force, yields, trusted bool
	}

	for _, c := range []struct {
		name  string
		facts facts
		want  want
	}{
		{"nothing is known", facts{}, want{}},
		{"antlerd starts on a serving node", facts{record: starting, replica: primary, use: serving}, want{}},
		{"its quorum's answers are late", facts{record: starting, replica: primary, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"the use of the device is not known", facts{record: others, replica: primary}, want{}},
		{"granted", facts{record: mine, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch}},
		{"granted, the first", facts{record: forming, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch, first: true}},
		{"granted by a peer that unmounts", facts{record: yielded, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch, yields: true}},
		{"granted after the peer failed", facts{record: failed, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch}},
		{"granted by nobody, the peer gave up once", facts{record: longAgo, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch}},
		{"granted, and the peer may be next", facts{record: both, replica: secondary, use: unused}, want{role: RolePrimary, epoch: epoch, trusted: true}},
		{"lease lost: the peer is not its business", facts{record: bothLost, replica: primary, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"not granted", facts{record: others, replica: secondary, use: unused}, want{role: RoleSecondary, epoch: epoch + 1}},
		{"lease lost: primary until it is unmounted", facts{record: lost, replica: primary, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"lease lost with frozen I/O: not before the kill", facts{record: lost, replica: frozen, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"lease lost with frozen I/O, killed", facts{record: lost, replica: frozen, use: killed, before: before}, want{role: RolePrimary, epoch: epoch, force: true}},
		{"another holds while this one is frozen", facts{record: others, replica: frozen, use: killed, before: before}, want{role: RolePrimary, epoch: epoch, force: true}},
		{"broken off, and the lease is back: secondary first", facts{record: mine, replica: broken, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
		{"broken off, the lease is back, and it is still mounted", facts{record: mine, replica: broken, use: killed, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"breaking off when the lease comes back is ended", facts{record: mine, replica: breaking, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch, force: true}},
		{"lease lost, mounted, and the kernel has not told yet", facts{record: lost, use: serving, before: before}, want{epoch: epoch}},
		{"not granted, and the kernel has not told yet", facts{record: others, replica: &ReplicaStatusSpec{}, use: unused}, want{epoch: epoch + 1}},
		{"its disk is lost: given up", facts{record: both, replica: lostDisk, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
		{"its disk is lost, given up, still mounted", facts{record: both, replica: lostDisk, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"its disk is lost, and nobody else has everything: given up as well", facts{record: mine, replica: lostDisk, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
		{"unmounted", facts{record: lost, replica: primary, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
		{"frozen with a valid lease is the handler's", facts{record: mine, replica: frozen, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"switchover: primary while it stops", facts{record: handover, replica: primary, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"going down: primary while it stops", facts{record: leaving, replica: primary, use: serving, before: before}, want{role: RolePrimary, epoch: epoch}},
		{"going down: then secondary", facts{record: leaving, replica: primary, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
		{"switchover: then secondary", facts{record: handover, replica: primary, use: unused, before: before}, want{role: RoleSecondary, epoch: epoch}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decide(cfg, c.facts)

			assert.Equal(t, c.want, want{got.Role, got.Epoch, got.First, got.Force, got.PeerYields, got.PeerTrusted})
			assert.Equal(t, "n2", got.Peer)
			assert.Equal(t, "10.0.0.2", got.PeerAddress)
			assert.Equal(t, "10.0.0.1", got.SelfAddress)
			assert.Equal(t, "/dev/vdb", got.Device)
		})
	}
}
