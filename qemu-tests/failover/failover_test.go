//go:build vm

package failover

import (
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// The client's longest gap that is promised, under emulation.
const (
	gapPowerCut   = 8 * time.Second
	gapSwitchover = 3 * time.Second
	gapKill       = 3 * time.Second
)

func TestPowerCutOfTheServingNode(t *testing.T) {
	s := begin(t, "an acknowledged operation survives a power cut of the serving node")

	cut := s.powerCut(s.serving)
	s.goesOn(cut, gapPowerCut)

	s.powerOn(s.serving)
	s.healthy()
	s.nothingLost()
}

func TestMasterKilled(t *testing.T) {
	s := begin(t, "a killed mfsmaster is replaced, and nothing is lost")

	killed := s.harm(s.serving, "kill -KILL $(pidof mfsmaster)")
	s.goesOn(killed, gapKill)

	s.healthy()
	s.nothingLost()
}

func TestAntlerdKilled(t *testing.T) {
	s := begin(t, "antlerd is killed on the serving node, and nothing is lost")

	killed := s.harm(s.serving, "systemctl kill --signal=KILL antlerd")
	s.goesOn(killed, gapPowerCut)

	s.healthy()
	s.nothingLost()
}

func TestMasterThatDoesNotAnswer(t *testing.T) {
	s := begin(t, "an mfsmaster that runs but doesn't answer is a failed master")

	stopped := s.harm(s.serving, "kill -STOP $(pidof mfsmaster)")
	s.goesOn(stopped, gapPowerCut)

	s.healthy()
	s.nothingLost()
}

func TestSwitchoverThereAndBack(t *testing.T) {
	s := begin(t, "a planned switchover moves the master there and back")
	from, to := s.serving, s.otherReplica()

	for _, step := range []struct{ from, to *lab.Machine }{{from, to}, {to, from}} {
		asked := time.Now()

		s.must(s.cluster.Switchover(s.ctx, step.from, step.to.Name))
		s.goesOn(asked, gapSwitchover)
		s.servedBy(step.to)
		s.healthy()
	}

	s.nothingLost()
}

func TestServingNodeCutOff(t *testing.T) {
	s := begin(t, "a serving node that is cut off stops before the other one starts")
	old := s.serving

	cut := s.cut(old, s.cluster.Machine("n3"), s.otherReplica())
	s.goesOn(cut, gapPowerCut)
	s.servedBy(s.otherReplica())

	s.cluster.Switch.Heal(old.Name, s.cluster.Others(old)...)
	s.healthy()
	s.nothingLost()
}

func TestWitnessGone(t *testing.T) {
	s := begin(t, "without the witness service goes on")
	witness := s.cluster.Machine("n3")
	s.moveWorkload(s.otherReplica())
	s.ledBy(witness) // the harder case: no lease is renewed until another leads

	cut := s.powerCut(witness)
	s.goesOn(cut, gapPowerCut)
	s.servedBy(s.serving)
	s.neverSaw("authority.lease-lost") // the witness led, and was replaced in time: the promise itself
	s.saw("chunkservers.disconnected") // so nobody waited until MooseFS missed it

	s.powerOn(witness)
	s.healthy()
	// Meanwhile a replica led. See TestReplicationLinkCut.
	s.ledBy(witness)
	s.nothingLost()
}

func TestReplicationLinkCut(t *testing.T) {
	s := begin(t, "with the replication link cut, the node that serves goes on and the other may not take over")
	peer := s.otherReplica()

	// The standby may have led: the link that is cut must not be the holder's way
	// to the leader.
	s.ledBy(s.cluster.Machine("n3"))

	cut := s.cut(s.serving, peer)
	s.goesOn(cut, gapPowerCut)
	s.servedBy(s.serving)
	s.outdated(peer)
	s.saw("chunkservers.disconnected")

	s.cluster.Switch.Heal(s.serving.Name, peer.Name)
	s.healthy()
	s.nothingLost()
}

func TestTwoNodesGone(t *testing.T) {
	s := begin(t, "with two nodes gone service stops, nothing is lost, and it comes back by itself")
	peer := s.otherReplica()

	s.powerCut(s.serving)
	s.powerCut(peer)
	s.nobodyServes(10 * time.Second)

	back := time.Now()
	s.powerOn(s.serving, peer)
	s.comesBack(back)
	s.healthy()
	s.nothingLost()
}

// The serving node is alone then, and lives: it has to stop by itself. All are where they
// were when the network is back, and none may have to be helped.
func TestNetworkGone(t *testing.T) {
	s := begin(t, "with the network between all nodes gone service stops, nothing is lost, and it comes back by itself")

	s.cut(s.serving, s.otherReplica(), s.cluster.Machine("n3"))
	s.cut(s.otherReplica(), s.cluster.Machine("n3"))
	s.nobodyServes(20 * time.Second)

	back := time.Now()
	s.cluster.Switch.HealAll()
	s.comesBack(back)
	s.healthy()
	s.nothingLost()
}
