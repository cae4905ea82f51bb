package authority

import (
	"fmt"
	"slices"
)

// Events is where StatusController writes down what happened.
type Events interface {
	Emit(kind string, epoch uint64, message string)
}

// event is one line of the event log.
type event struct {
	kind, message string
}

// eventsBetween are what happened between two statuses of one node. What the
// whole cluster sees is told by the node that it concerns: the holder, or else
// the leader.
func eventsBetween(was, is AuthorityStatusSpec) []event {
	var out []event

	add := func(happened bool, kind, format string, args ...any) {
		if happened {
			out = append(out, event{kind, fmt.Sprintf(format, args...)})
		}
	}

	leads := is.HaveQuorum && is.Leader == is.Self
	holds := is.IsHolder && is.HaveQuorum
	// A node that was just started learns of what happened long ago.
	knew := was.ConsentID != ""

	add(is.Leader != was.Leader && is.Leader != "", "authority.leader", "%s leads the quorum", is.Leader)
	add(was.HaveQuorum && !is.HaveQuorum, "authority.quorum-lost", "%s hears from no leader", is.Self)
	add(leads && was.ConsentID == "" && is.ConsentID != "", "authority.consent", "consent %s: replicas on %q", is.ConsentID, is.Replicas)
	add(knew && holds && is.Formatted && !was.Formatted, "authority.formed", "file system and metadata exist")
	add(knew && is.IsHolder && is.Epoch > was.Epoch, "authority.granted", "epoch %d is granted to %s, after %q", is.Epoch, is.Self, was.LastHolder)
	add(was.LeaseValid && !is.LeaseValid && is.IsHolder, "authority.lease-lost", "%s has lost its lease of epoch %d and stops serving", is.Self, is.Epoch)

	release, released := is.GiveUps[is.Self]
	add(released && was.Epoch > 0 && release != was.GiveUps[is.Self] && release.Epoch >= was.Epoch, "authority.released", "%s gave up epoch %d: %s", is.Self, release.Epoch, release.Reason)

	for _, n := range is.Replicas {
		before, after := slices.Contains(was.UpToDate, n), slices.Contains(is.UpToDate, n)
		add(holds && before && !after, "authority.outdated", "%s lacks what is written from now on", n)
		add(holds && !before && after && was.Epoch == is.Epoch, "authority.up-to-date", "%s has every acknowledged write again", n)
	}

	for _, m := range is.Members {
		before, after := was.Guards[m.Name], is.Guards[m.Name]
		add(knew && leads && after.Dead && !before.Dead, "authority.dead", "%s was not heard of for so long that it is without power, or has reset itself", m.Name)
		add(knew && leads && before.Dead && !after.Dead, "authority.back", "%s is heard of again, after a reset", m.Name)
	}

	add(leads && is.Target != "" && is.Target != was.Target, "authority.switchover", "%s is asked to hand over to %s", is.Holder, is.Target)
	add(leads && is.Discard != "" && is.Discard != was.Discard, "authority.discard", "what only %s has is given up for what %s serves", is.Discard, is.Holder)
	add(leads && forced(is) > forced(was), "authority.failover", "epoch %d was forced on %s", is.Epoch, is.Holder)

	return out
}

// forced is the last epoch that a person forced.
func forced(s AuthorityStatusSpec) uint64 {
	for _, a := range slices.Backward(s.Audit) {
		if a.Kind == KindForceGrant || a.Kind == KindRestore {
			return a.Epoch
		}
	}

	return 0
}
