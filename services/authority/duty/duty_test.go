package duty

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/replication"
)

// serving is the holder of epoch 3 with everything as it should be, its peer
// outdated and far away.
func serving() situation {
	return situation{
		record: authority.AuthorityStatusSpec{
			Self: "n1", IsHolder: true, LeaseValid: true, Epoch: 3, Formatted: true, UpToDate: []string{"n1"},
		},
		replica: replication.ReplicaStatusSpec{
			Phase: replication.PhaseUp, Role: replication.RolePrimary, Epoch: 3, Disk: "UpToDate",
		},
		master: metadata.MasterStatusSpec{
			Phase: metadata.PhaseServing, Epoch: 3, Mounted: true, Answering: true, MetaVersion: 100, MetadataID: 7,
		},
		address: true, peer: "n2", recorded: 100, recordedAt: time.Unix(1000, 0),
		interval: 15 * time.Second, now: time.Unix(1001, 0),
	}
}

func TestDuties(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*situation)
		want   action
	}{
		"nothing to do": {func(*situation) {}, nothing},
		"the peer is back": {func(s *situation) {
			s.replica.Connection, s.replica.PeerDisk = "Connected", "UpToDate"
		}, markUpToDate},
		"the peer still resynchronises": {func(s *situation) {
			s.replica.Connection, s.replica.PeerDisk = "Connected", "Inconsistent"
		}, nothing},
		"the peer is known to be back": {func(s *situation) {
			s.replica.Connection, s.replica.PeerDisk = "Connected", "UpToDate"
			s.record.UpToDate = []string{"n1", "n2"}
		}, nothing},
		"the first file system is made": {func(s *situation) {
			s.record.Formatted, s.master.Formatted, s.master.Phase = false, true, metadata.PhaseFormatting
		}, recordFormatted},
		"the first file system of an older epoch": {func(s *situation) {
			s.record.Formatted, s.master.Formatted, s.master.Epoch = false, true, 2
		}, nothing},
		"a version is due": {func(s *situation) {
			s.master.MetaVersion, s.now = 101, time.Unix(1015, 0)
		}, recordVersion},
		"a version is not due yet": {func(s *situation) { s.master.MetaVersion = 101 }, nothing},
		"no versions where a power cut may take some back": {func(s *situation) {
			s.master.MetaVersion, s.now, s.lossy = 101, time.Unix(1015, 0), true
		}, nothing},
		"a switchover while the master still stops": {func(s *situation) {
			s.record.Target, s.address = "n2", false
		}, nothing},
		"a switchover with the master dead, and clients still coming here": {func(s *situation) {
			s.record.Target, s.master.Phase = "n2", metadata.PhaseUnmounting
		}, nothing},
		"a switchover with the file system still mounted": {func(s *situation) {
			s.record.Target, s.address, s.master.Phase = "n2", false, metadata.PhaseUnmounting
		}, releaseSwitchover},
		"a switchover, and antlerd has just started": {func(s *situation) {
			s.record.Target, s.address, s.master = "n2", false, metadata.MasterStatusSpec{Phase: metadata.PhaseStopped}
		}, nothing},
		"a failed disk, and antlerd started after it, and has left the primary role": {func(s *situation) {
			s.record.UpToDate, s.replica.IOErrors, s.replica.Error, s.address = []string{"n1", "n2"}, 1, "replace it", false
			s.master, s.replica.Role = metadata.MasterStatusSpec{Phase: metadata.PhaseStopped}, replication.RoleSecondary
		}, releaseFailed},
		"no resource any more, and antlerd has just started": {func(s *situation) {
			s.replica = replication.ReplicaStatusSpec{Phase: replication.PhaseMissing, FailedEpoch: 3, Error: "connect the disk"}
			s.master, s.address = metadata.MasterStatusSpec{Phase: metadata.PhaseStopped}, false
		}, releaseFailed},
		"the kernel has not told yet": {func(s *situation) {
			s.replica = replication.ReplicaStatusSpec{FailedEpoch: 3}
			s.master, s.address = metadata.MasterStatusSpec{Phase: metadata.PhaseStopped}, false
		}, nothing},
		"a replica that doesn't become primary, and doesn't say why": {func(s *situation) {
			s.replica.FailedEpoch, s.master.Phase = 3, metadata.PhaseStopped
		}, releaseFailed},
		"a failed disk, and antlerd has just started": {func(s *situation) {
			s.record.UpToDate, s.replica.IOErrors, s.address = []string{"n1", "n2"}, 1, false
			s.master = metadata.MasterStatusSpec{Phase: metadata.PhaseStopped}
		}, nothing},
		"a switchover after everything is given up": {func(s *situation) {
			s.record.Target, s.address, s.master.Mounted, s.master.Phase = "n2", false, false, metadata.PhaseStopped
			s.replica.Role = replication.RoleSecondary
		}, releaseSwitchover},
		"this node goes down, and its replica is still primary": {func(s *situation) {
			s.record.Leaving, s.address, s.master.Phase = true, false, metadata.PhaseUnmounting
		}, nothing},
		"this node goes down, and has given up everything": {func(s *situation) {
			s.record.Leaving, s.address, s.master.Mounted = true, false, false
			s.replica.Role = replication.RoleSecondary
		}, releaseSwitchover},
		"this node goes down, and the master still stops": {func(s *situation) {
			s.record.Leaving, s.address = true, false
		}, nothing},
		"a switchover to this node": {func(s *situation) { s.record.Target = "n1" }, nothing},
		"the master can't serve": {func(s *situation) {
			s.master.Phase, s.master.Answering, s.master.Error = metadata.PhaseFailed, false, "no room"
		}, releaseFailed},
		"the master could not serve in an older epoch": {func(s *situation) {
			s.master.Phase, s.master.Epoch, s.master.Error = metadata.PhaseFailed, 2, "no room"
		}, nothing},
		"the disk failed and the master still runs": {func(s *situation) {
			s.replica.IOErrors, s.record.UpToDate = 1, []string{"n1", "n2"}
		}, nothing},
		"the disk failed and the master is stopped": {func(s *situation) {
			s.replica.IOErrors, s.record.UpToDate = 1, []string{"n1", "n2"}
			s.master.Phase = metadata.PhaseStopped
		}, releaseFailed},
		"the only good disk failed: a person can decide": {func(s *situation) {
			s.replica.IOErrors, s.master.Phase = 1, metadata.PhaseStopped
		}, releaseFailed},
		"another holds the epoch": {func(s *situation) {
			s.record.IsHolder, s.master.Phase = false, metadata.PhaseFailed
		}, nothing},
		"antlerd has just started": {func(s *situation) {
			s.record.Starting, s.master.Phase = true, metadata.PhaseFailed
		}, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			s := serving()
			test.change(&s)
			require.Equal(t, test.want, next(s))
		})
	}
}
