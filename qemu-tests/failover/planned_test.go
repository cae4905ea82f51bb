//go:build vm

package failover

import (
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What somebody does on purpose, and not to move the master: `make test-planned`.

const gapShutDown = gapPowerCut

func TestPlannedRestartOfAntlerd(t *testing.T) {
	s := begin(t, "a restart of antlerd leaves the master that serves alone")
	master := s.run(s.serving, "pidof mfsmaster")

	restarted := s.harm(s.serving, "systemctl restart antlerd")
	s.goesOn(restarted, gapSwitchover)
	s.servedBy(s.serving)

	if after := s.run(s.serving, "pidof mfsmaster"); after != master {
		s.Errorf("mfsmaster was process %s and is %s now", master, after)
	}

	s.healthy()
	s.nothingLost()
}

func TestPlannedShutdownOfTheServingNode(t *testing.T) {
	s := begin(t, "a serving node that is shut down in order hands over first")

	asked, off := s.shutDown(s.serving)
	s.servedBy(s.otherReplica())
	s.goesOn(asked, gapShutDown)
	s.handedOver(s.serving, off)

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

func TestPlannedRestartOfContainerd(t *testing.T) {
	s := begin(t, "a restart of containerd leaves the master that serves alone")
	master := s.run(s.serving, "pidof mfsmaster")

	restarted := s.harm(s.serving, "systemctl restart containerd")
	s.goesOn(restarted, gapSwitchover)
	s.servedBy(s.serving)

	if after := s.run(s.serving, "pidof mfsmaster"); after != master {
		s.Errorf("mfsmaster was process %s and is %s now", master, after)
	}

	// What antlerd was told of before is not what it hears of from now on.
	killed := s.harm(s.serving, "kill -KILL $(pidof mfsmaster)")
	s.goesOn(killed, gapKill)

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
