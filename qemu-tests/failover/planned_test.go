//go:build vm

package failover

import "testing"

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
