package authority_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

// now in these tests; the last lease was over long ago unless a test says
// otherwise.
var now = time.Unix(5000, 0)

// situation is three live nodes after n1 was holder of epoch 1, with n3 leading.
func situation(record authority.State) authority.Situation {
	seen := func(r authority.Report) authority.NodeView { return authority.NodeView{LastSeen: now, Report: r} }
	long := now.Add(-time.Hour)

	return authority.Situation{
		Now: now, Self: "n3", Timing: authority.DefaultTiming(), Record: record,
		Members: []authority.Member{
			{Name: "n1", Voter: true, Replica: true}, {Name: "n2", Voter: true, Replica: true},
			{Name: "n3", Voter: true}, {Name: "n4"},
		},
		Nodes: map[string]authority.NodeView{
			"n1": seen(up), "n2": seen(up), "n3": seen(authority.Report{}),
		},
		GrantAt: long, LedSince: long, EpochSince: long, ReleasedSince: long, TargetSet: long,
		GaveUp: map[string]time.Time{},
	}
}

func TestDecide(t *testing.T) {
	timing := authority.DefaultTiming()
	release := authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1"}
	failed := authority.Command{Kind: authority.KindRelease, Epoch: 1, Node: "n1", Failed: true, Reason: "no disk"}
	outdate := authority.Command{Kind: authority.KindOutdate, Epoch: 1, Node: "n1", Peer: "n2", Seq: 1}
	target := authority.Command{Kind: authority.KindSetTarget, Epoch: 1, Node: "n2"}
	dead := func(n string) func(*authority.Situation) {
		return func(s *authority.Situation) {
			s.Nodes[n] = authority.NodeView{LastSeen: now.Add(-timing.AliveWithin - 1), Report: s.Nodes[n].Report}
		}
	}
	says := func(n string, r authority.Report) func(*authority.Situation) {
		return func(s *authority.Situation) { s.Nodes[n] = authority.NodeView{LastSeen: now, Report: r} }
	}
	lease := func(s *authority.Situation) { s.GrantAt = now.Add(time.Second) }
	consent := authority.Command{Kind: authority.KindConsent, ConsentID: "c", Replicas: []string{"n1", "n2"}}
	restore := authority.Command{Kind: authority.KindRestore, Epoch: 1, Node: "n1", MetaVersion: 90, MetadataID: 7, Who: "ann", Why: "the house burnt"}
	awaits := func(s *authority.Situation) { s.AwaitRestore = true }
	leads := func(n string) func(*authority.Situation) { return func(s *authority.Situation) { s.Self = n } }

	for name, tc := range map[string]struct {
		record authority.State
		but    []func(*authority.Situation)
		want   authority.Action
		reason string
	}{
		"blank devices, all voters there": {
			authority.State{}, []func(*authority.Situation){says("n1", blank), says("n2", blank)},
			authority.Action{Kind: authority.ActConsent, Replicas: []string{"n1", "n2"}}, "",
		},
		"the witness is missing": {
			authority.State{}, []func(*authority.Situation){says("n1", blank), says("n2", blank), dead("n3")},
			authority.Action{Kind: authority.ActWait}, "n3 has not reported",
		},
		"a device with data": {
			authority.State{}, []func(*authority.Situation){says("n1", blank), says("n2", authority.Report{Replica: authority.ReplicaReport{Phase: "refused", Error: "/dev/sda holds ext4"}})},
			authority.Action{Kind: authority.ActWait}, "n2: its replica's device is refused, not blank: /dev/sda holds ext4",
		},
		"the holder has a lease": {
			formed(t), []func(*authority.Situation){lease},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the holder's lease is over": {
			formed(t), []func(*authority.Situation){dead("n1")},
			authority.Action{Kind: authority.ActGrant, Node: "n2"}, "",
		},
		"the holder is back, but without a lease": {
			formed(t), nil,
			authority.Action{Kind: authority.ActGrant, Node: "n2"}, "",
		},
		"only the holder could": {
			formed(t, outdate), nil,
			authority.Action{Kind: authority.ActWait}, "n2 lacks acknowledged writes",
		},
		"the other one is dead as well": {
			formed(t), []func(*authority.Situation){dead("n1"), dead("n2")},
			authority.Action{Kind: authority.ActWait}, "n2 is not reachable",
		},
		"its replica isn't up": {
			formed(t), []func(*authority.Situation){says("n2", authority.Report{Replica: authority.ReplicaReport{Phase: "down", Error: "no module"}})},
			authority.Action{Kind: authority.ActWait}, "n2 has no running replica (down): no module",
		},
		"its replica is diskless": {
			formed(t), []func(*authority.Situation){says("n2", authority.Report{Replica: authority.ReplicaReport{Phase: "up", Disk: "Diskless"}})},
			authority.Action{Kind: authority.ActWait}, "n2 has a replica that is Diskless",
		},
		"released, but the lease may run": {
			formed(t, release), []func(*authority.Situation){lease},
			authority.Action{Kind: authority.ActWait}, "waiting until its last lease is over",
		},
		"released: rather somebody else": {
			formed(t, release), nil,
			authority.Action{Kind: authority.ActGrant, Node: "n2"}, "",
		},
		"released, nobody else: the same again": {
			formed(t, release), []func(*authority.Situation){dead("n2")},
			authority.Action{Kind: authority.ActGrant, Node: "n1"}, "",
		},
		"released because it goes down": {
			formed(t, release), []func(*authority.Situation){dead("n2"), says("n1", authority.Report{Replica: up.Replica, Leaving: true})},
			authority.Action{Kind: authority.ActWait}, "n1 is going down",
		},
		"failed a moment ago": {
			formed(t, failed), []func(*authority.Situation){dead("n2"), func(s *authority.Situation) { s.GaveUp["n1"] = now.Add(-time.Second) }},
			authority.Action{Kind: authority.ActWait}, "n1 failed (no disk) and is tried again in 4s",
		},
		"failed a while ago": {
			formed(t, failed), []func(*authority.Situation){dead("n2"), func(s *authority.Situation) { s.GaveUp["n1"] = now.Add(-timing.GiveUpBackOff) }},
			authority.Action{Kind: authority.ActGrant, Node: "n1"}, "",
		},
		"switchover": {
			formed(t, target, release), nil,
			authority.Action{Kind: authority.ActGrant, Node: "n2"}, "",
		},
		"switchover, the target is late": {
			formed(t, target, release), []func(*authority.Situation){dead("n2"), func(s *authority.Situation) { s.ReleasedSince = now }},
			authority.Action{Kind: authority.ActWait}, "waiting for n2, the target of the switchover",
		},
		"switchover, the target is dead: back": {
			formed(t, target, release), []func(*authority.Situation){dead("n2")},
			authority.Action{Kind: authority.ActGrant, Node: "n1"}, "",
		},
		"switchover that never begins": {
			formed(t, target), []func(*authority.Situation){lease},
			authority.Action{Kind: authority.ActClearTarget}, "",
		},
		"switchover that just began": {
			formed(t, target), []func(*authority.Situation){lease, func(s *authority.Situation) { s.TargetSet = now }},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the holder leads: rather the witness": {
			formed(t), []func(*authority.Situation){lease, leads("n1")},
			authority.Action{Kind: authority.ActTransfer, Node: "n3"}, "",
		},
		"the holder leads, no witness": {
			formed(t), []func(*authority.Situation){lease, leads("n1"), dead("n3")},
			authority.Action{Kind: authority.ActTransfer, Node: "n2"}, "",
		},
		"the holder leads and is alone": {
			formed(t), []func(*authority.Situation){lease, leads("n1"), dead("n2"), dead("n3")},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the holder leads, but was granted just now": {
			formed(t), []func(*authority.Situation){lease, leads("n1"), func(s *authority.Situation) { s.EpochSince = now }},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the standby leads: rather the witness": {
			formed(t), []func(*authority.Situation){lease, leads("n2")},
			authority.Action{Kind: authority.ActTransfer, Node: "n3"}, "",
		},
		"the standby leads, no witness": {
			formed(t), []func(*authority.Situation){lease, leads("n2"), dead("n3")},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the standby leads, and the holder doesn't hear the witness": {
			formed(t), []func(*authority.Situation){lease, leads("n2"), says("n1", authority.Report{Unheard: "n3"})},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"the holder leads, and doesn't hear the witness": {
			formed(t), []func(*authority.Situation){lease, leads("n1"), says("n1", authority.Report{Unheard: "n3"})},
			authority.Action{Kind: authority.ActTransfer, Node: "n2"}, "",
		},
		"the witness leads": {
			formed(t), []func(*authority.Situation){lease, leads("n3")},
			authority.Action{Kind: authority.ActWait}, "",
		},
		"first grant after the consent": {
			apply(t, authority.State{}, consent),
			[]func(*authority.Situation){says("n1", authority.Report{Replica: authority.ReplicaReport{Phase: "up", Disk: "Inconsistent"}})},
			authority.Action{Kind: authority.ActGrant, Node: "n1"}, "",
		},
		"consent is given by a cluster that awaits a restore": {
			authority.State{}, []func(*authority.Situation){awaits, says("n1", blank), says("n2", blank)},
			authority.Action{Kind: authority.ActConsent, Replicas: []string{"n1", "n2"}}, "",
		},
		"but no epoch, in which a file system would be made": {
			apply(t, authority.State{}, consent), []func(*authority.Situation){awaits},
			authority.Action{Kind: authority.ActWait}, "metadata.awaitRestore",
		},
		"nor is it told to restore while a replica is still to be made": {
			apply(t, authority.State{}, consent), []func(*authority.Situation){awaits, says("n2", blank)},
			authority.Action{Kind: authority.ActWait}, "n2 has no running replica",
		},
		"until a person has restored one: again, should that fail": {
			apply(t, authority.State{}, consent, restore, release), []func(*authority.Situation){awaits},
			authority.Action{Kind: authority.ActGrant, Node: "n1"}, "",
		},
		"and never again": {
			formed(t), []func(*authority.Situation){awaits, dead("n1")},
			authority.Action{Kind: authority.ActGrant, Node: "n2"}, "",
		},
		"first grant waits for both": {
			apply(t, authority.State{}, consent),
			[]func(*authority.Situation){says("n2", blank)},
			authority.Action{Kind: authority.ActWait}, "n2 has no running replica (blank)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := situation(tc.record)
			for _, but := range tc.but {
				but(&s)
			}

			got := authority.Decide(s)
			require.Contains(t, got.Reason, tc.reason)

			got.Reason = ""
			require.Equal(t, tc.want, got)
		})
	}
}
