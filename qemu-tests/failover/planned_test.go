//go:build vm

package failover

import (
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"antler/qemu-tests/lab"
	"antler/services/authority"
)

// What somebody does on purpose, and what is rare or takes long: `make test-planned`.

const gapShutDown = gapPowerCut

func TestPlannedRestartOfAntlerd(t *testing.T) {
	s := begin(t, "a restart of antlerd leaves the master that serves alone")
	s.outlives("systemctl restart antlerd")

	s.healthy()
	s.nothingLost()
}

// outlives checks that the master that serves goes on as the same process.
func (s *scenario) outlives(command string) {
	s.Helper()

	master := s.run(s.serving, "pidof mfsmaster")

	s.goesOn(s.harm(s.serving, command), gapSwitchover)
	s.servedBy(s.serving)

	if after := s.run(s.serving, "pidof mfsmaster"); after != master {
		s.Errorf("mfsmaster was process %s and is %s now", master, after)
	}
}

func TestPlannedShutdownOfTheServingNode(t *testing.T) {
	s := begin(t, "a serving node that is shut down in order hands over first")

	asked, off := s.shutDown(s.serving)
	s.servedBy(s.otherReplica())
	s.goesOn(asked, gapShutDown)
	s.handedOver(s.serving, off)
	s.leftNothing(s.serving)

	s.powerOn(s.serving)
	s.healthy()
	s.nothingLost()
}

func TestPlannedShutdownOfAll(t *testing.T) {
	s := begin(t, "nodes that are all shut down at once go off, and come back with everything")
	s.stop()

	for _, m := range s.cluster.Machines {
		s.askToShutDown(m)
	}

	for _, m := range s.cluster.Machines {
		s.awaitOff(m)
	}

	s.powerOn(s.cluster.Machines...)
	s.healthy()
	s.nothingLost()
}

// Which one is missing decides who may serve, and what it has to go by.
func TestPlannedColdStarts(t *testing.T) {
	s := begin(t, "after a power cut of all nodes any two of them serve, and the third joins them")
	s.stop()

	for _, missing := range s.cluster.Machines {
		s.cluster.Say("all lose their power; %s stays off", missing.Name)

		var others []*lab.Machine

		for _, m := range s.cluster.Machines {
			s.powerCut(m)

			if m != missing {
				others = append(others, m)
			}
		}

		s.powerOn(others...)
		s.served()
		s.powerOn(missing)
		s.healthy()
	}

	s.nothingLost()
}

// Its own disk knows nothing of what it misses: the quorum does.
func TestPlannedReturnOfAnOutdatedReplica(t *testing.T) {
	s := begin(t, "a replica that misses acknowledged writes doesn't serve, though it is the only one there")
	peer := s.otherReplica()

	cut := s.powerCut(peer)
	s.goesOn(cut, gapPowerCut)
	s.outdated(peer)

	s.powerCut(s.serving)
	s.powerOn(peer)
	s.nobodyServes(20 * time.Second)
	s.comesToSay("lacks acknowledged writes", "status")

	back := time.Now()
	s.powerOn(s.serving)
	s.comesBack(back)
	s.healthy()
	s.nothingLost()
}

// No lease is renewed, and the third node hears both.
func TestPlannedLinkToTheLeaderCut(t *testing.T) {
	s := begin(t, "a serving node that doesn't hear the leader of the quorum takes its place, and goes on")
	s.moveWorkload(s.otherReplica())

	leader := s.cluster.Machine("n3")
	s.ledBy(leader)

	cut := s.cut(s.serving, leader)
	s.goesOn(cut, gapPowerCut)
	// Leadership moves on to who hears all, and not from there to who is not heard.
	s.ledBy(s.otherReplica())
	s.must(s.workload.AwaitAcknowledged(s.ctx, time.Now().Add(3*authority.DefaultTiming().TransferDelay), someOps))
	s.servedBy(s.serving)
	s.neverSaw("authority.lease-lost")

	s.cluster.Switch.Heal(s.serving.Name, leader.Name)
	s.healthy()
	s.ledBy(leader)
	s.nothingLost()
}

// Its disk may have forgotten what it said it had written, which nobody knows before.
func TestPlannedSwitchoverToAReplicaThatHasReturned(t *testing.T) {
	s := begin(t, "a switchover to a replica that had a power cut waits until it was compared")
	from, to := s.serving, s.otherReplica()
	before := len(s.told(compared))

	s.powerCut(to)
	s.powerOn(to)
	s.healthy()

	if len(s.told(compared)) > before {
		s.Errorf("the replicas were compared before the switchover was asked for: this shows nothing")
	}

	s.must(s.cluster.Switchover(s.ctx, from, to.Name))
	s.servedBy(to)

	found, released := s.told(compared)[before:], s.told("authority.released")
	if len(found) != 1 || len(released) != 1 || found[0].Node != from.Name || released[0].Time.Before(found[0].Time) {
		s.Errorf("%s must compare and then give up: %v, %v", from.Name, found, released)
	}

	s.healthy()
	s.nothingLost()
}

const compared = "replication.compared"

func TestPlannedRestartOfContainerd(t *testing.T) {
	s := begin(t, "a restart of containerd leaves the master that serves alone")
	s.outlives("systemctl restart containerd")

	// What antlerd was told of before is not what it hears of from now on.
	killed := s.harm(s.serving, "kill -KILL $(pidof mfsmaster)")
	s.goesOn(killed, gapKill)

	s.healthy()
	s.nothingLost()
}

func TestPlannedLossOfADisk(t *testing.T) {
	s := begin(t, "a serving node that loses its replica's disk gives up, and takes part again with one after a restart")
	s.losesItsDisk("drbdsetup detach 0 --force")
}

// antlerd finds a primary without a disk, and a master that serves from the peer's.
func TestPlannedLossOfADiskMeanwhile(t *testing.T) {
	s := begin(t, "a serving node that loses its replica's disk while antlerd is restarted gives up as well")
	s.losesItsDisk("kill -STOP $(pidof antlerd); drbdsetup detach 0 --force; kill -KILL $(pidof antlerd)")
}

// losesItsDisk has DRBD let go of the disk on the serving node, as it does after an error.
func (s *scenario) losesItsDisk(how string) {
	lost := s.harm(s.serving, how)
	s.goesOn(lost, gapPowerCut)
	s.servedBy(s.otherReplica())
	s.comesToSay("replace it", "get", "replica", "-n", s.serving.Name)
	s.outdated(s.serving)

	_, _ = s.shutDown(s.serving)
	s.powerOn(s.serving)
	s.healthy()
	s.nothingLost()
}

// MooseFS leaves the session of a client that has said goodbye out of what it saves, and
// notes its end later. It doesn't start from that by itself: files.IdleUnknownSessions.
func TestPlannedGoodbye(t *testing.T) {
	s := begin(t, "a master that saved its metadata while a client's session was ending starts from it again")
	s.goesOn(s.harm(s.serving, "kill -KILL $(pidof mfsmaster)"), gapKill)

	serving := s.served()
	gone := s.run(serving, "cat /var/lib/antler/meta/replica/mfs/changelog.*.mfs | grep -c SESDEL")

	for _, m := range s.cluster.Machines {
		if m != s.on {
			s.harm(m, "for p in $(pidof mfsmount); do kill -TERM $p; while [ -d /proc/$p ]; do sleep 0.2; done; done")
		}
	}

	backup := filepath.Join(t.TempDir(), "backup")
	s.says("", "metadata", "backup", backup)

	// Two minutes after its start the master looks for what has ended.
	s.run(serving, "until [ $(cat /var/lib/antler/meta/replica/mfs/changelog.*.mfs | grep -c SESDEL) -gt "+gone+" ]; do sleep 1; done; echo noted")

	s.goesOn(s.harm(serving, "kill -KILL $(pidof mfsmaster)"), gapKill)
	s.saw("metadata.mended")
	s.healthy()
	s.nothingLost()
}

// The status of the node that has it says which disk, and why.
func TestPlannedUsedDisk(t *testing.T) {
	s := begin(t, "a used disk in the place of a replica's is refused, and not a byte of it changes")
	peer := s.otherReplica()
	path := usedDisk(s, 256<<20)
	content := checksum(s, path)

	_, _ = s.shutDown(peer)
	s.must(s.cluster.Swap(peer, "replica", path))
	s.powerOn(peer)

	s.comesToSay("refused", "get", "replica", "-n", peer.Name)
	s.comesToSay("ext4", "status")
	s.servedBy(s.serving)

	_, _ = s.shutDown(peer)
	s.must(s.cluster.Swap(peer, "replica", path))

	if checksum(s, path) != content {
		s.Errorf("the used disk was written to")
	}

	s.powerOn(peer)
	s.healthy()
	s.nothingLost()
}

// usedDisk returns the path of the image of a disk with somebody's file system.
func usedDisk(s *scenario, size int64) string {
	path := filepath.Join(s.cluster.Dir, "used.img")
	s.Cleanup(func() { _ = os.Remove(path) })

	s.must(os.WriteFile(path, nil, 0o600))
	s.must(os.Truncate(path, size))
	s.must(exec.CommandContext(s.ctx, "mkfs.ext4", "-q", "-F", path).Run())

	return path
}

func checksum(s *scenario, path string) string {
	file, err := os.Open(path)
	s.must(err)

	defer file.Close()

	sum := sha256.New()
	_, err = io.Copy(sum, file)
	s.must(err)

	return string(sum.Sum(nil))
}
