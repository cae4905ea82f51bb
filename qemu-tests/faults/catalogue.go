package faults

import (
	"slices"
	"time"
)

// The catalogue is every fault alone, on each machine that it makes sense for, power cuts
// in each step of what goes on in several, and faults whose order counts: `make
// test-faults` makes one pass over it.

// Catalogue is all of it.
func Catalogue() []Round { return slices.Concat(Singles(), Steps(), Orders()) }

var (
	anyOne   = [][]Role{{Serving}, {Standby}, {Witness}}
	anyPair  = [][]Role{{Serving, Standby}, {Serving, Witness}, {Standby, Witness}}
	replicas = [][]Role{{Serving}, {Standby}}
	serving  = [][]Role{{Serving}}
	// ways are the directions between them.
	ways = append(slices.Clone(anyPair), []Role{Standby, Serving}, []Role{Witness, Serving}, []Role{Witness, Standby})
)

// entry is a fault, the machines that it is tried on, and how long it lasts.
type entry struct {
	kind Kind
	on   [][]Role
	hold time.Duration
}

// Longer than a failover takes, so that what follows from a fault has followed.
const long = 12 * time.Second

var singles = []entry{
	{PowerCut, slices.Concat(anyOne, anyPair, [][]Role{{Serving, Standby, Witness}}), long},
	{LinkCut, anyPair, long},
	{OneWay, ways, long},
	{Isolated, anyOne, long},
	{Delay, anyPair, long},
	{Loss, anyPair, long},
	{HeavyLoss, anyPair, long},
	{Disorder, anyPair, long},
	{MasterKilled, serving, long},
	{MasterStopped, serving, long},
	{MasterOOM, serving, long},
	{ChunkserverKilled, anyOne, long},
	{ChunkserverStopped, anyOne, long},
	{AntlerdKilled, anyOne, long},
	{AntlerdStopped, anyOne, long},
	{ContainerdKilled, anyOne, long},
	{ContainerdStopped, anyOne, long},
	{Paused, anyOne, time.Second},
	{PausedLong, anyOne, time.Second},
	{PausedMinute, anyOne, time.Second},
	{DiskStalled, replicas, 5 * time.Second},
	{DiskStalled, replicas, time.Minute},
	{WriteErrors, replicas, long},
	{ReadErrors, replicas, long},
	{DiskReplaced, replicas, long},
	{DiskFull, serving, long},
	// Nobody follows another node that is ahead, nor puts it back: status warns of it.
	{ClockAhead, serving, long},
	{ClockBehind, anyOne, long},
	{ClockLost, anyOne, long},
	// A client that is away for longer than MooseFS's own patience with it.
	{Isolated, [][]Role{{Witness}}, 4 * time.Minute},
	{Isolated, [][]Role{{Witness}}, 20 * time.Minute},
}

// Singles are rounds of one fault.
func Singles() []Round {
	var rounds []Round

	for _, e := range singles {
		for _, on := range e.on {
			rounds = append(rounds, Round{Faults: []Fault{{Kind: e.kind, On: on}}, Hold: e.hold, Settle: true})
		}
	}

	return rounds
}

// The events of a node that takes over, and of one that hands over, in order.
var (
	takeoverSteps = []string{
		"authority.granted", "replication.promoted", "metadata.mounted", "metadata.master-started",
		"metadata.master-answering", "metadata.clients-admitted", "address.announced",
	}
	handoverSteps = []string{
		"metadata.saving", "metadata.saved", "metadata.master-stopped", "metadata.unmounted", "replication.demoted", "authority.released",
	}
)

// Steps are power cuts in the steps of a takeover, of a switchover on both sides and of a
// resync. What is off has its power back only when all that is to happen has.
func Steps() []Round {
	var rounds []Round

	for _, step := range takeoverSteps {
		rounds = append(rounds, sequence(on(PowerCut, Serving), at(step, PowerCut, Standby)), sequence(on(Switchover, Standby), at(step, PowerCut, Standby)))
	}

	for _, step := range handoverSteps {
		rounds = append(rounds, sequence(on(Switchover, Standby), at(step, PowerCut, Serving)))
	}

	const resync = "replication.resync-started"

	return append(rounds,
		sequence(on(PowerCut, Standby), on(PowerOn, Standby), at(resync, PowerCut, Serving)),
		sequence(on(PowerCut, Standby), on(PowerOn, Standby), at(resync, PowerCut, Standby)),
		sequence(on(PowerCut, Standby), on(PowerOn, Standby), at(resync, PowerCut, Standby, Serving), on(PowerOn, Standby, Serving), on(PowerCut, Standby, Serving)),
	)
}

// Orders are faults whose order counts.
func Orders() []Round {
	var rounds []Round

	all := []Role{Serving, Standby, Witness}

	// All come back after another, and the last one late.
	for _, first := range all {
		for _, second := range all {
			if first != second {
				rounds = append(rounds, sequence(on(PowerCut, all...), on(PowerOn, first), on(PowerOn, second), on(Served)))
			}
		}
	}

	return append(rounds,
		// What a disk has forgotten it must have again before it is served from. The serving
		// node's gets all that it had written to lately from DRBD; the other's nothing, if
		// not by being compared. What a comparison finds before it is cut off DRBD copies, and
		// the next one has to begin anew.
		sequence(on(Compared), on(DiskLies, Serving), on(PowerCut, Serving), on(PowerOn, Serving), on(Compared), on(PowerCut, Standby), on(Served)),
		sequence(on(Compared), on(DiskLies, Standby), on(PowerCut, Standby), on(PowerOn, Standby), on(Differed), on(Compared), on(PowerCut, Serving), on(Served)),
		sequence(on(Compared), on(DiskLies, Standby), on(PowerCut, Standby), on(PowerOn, Standby), on(Comparing),
			on(PowerCut, Standby), on(PowerOn, Standby), on(Compared), on(PowerCut, Serving), on(Served)),
		// One that is ahead serves next, and is followed then.
		sequence(on(ClockAhead, Standby), on(PowerCut, Serving), on(Served)),
		// A board without a clock serves next, or all are such boards.
		sequence(on(ClockLost, Standby), on(PowerOn, Standby), on(Whole), on(PowerCut, Serving), on(Served)),
		sequence(on(ClockLost, Serving), on(ClockLost, Standby), on(ClockLost, Witness)),
		sequence(on(LinkCut, Serving, Standby), on(PowerCut, Witness)),
		sequence(on(LinkCut, Serving, Standby), on(Isolated, Witness)),
		// The witness changes sides, and changes them again.
		sequence(on(Isolated, Standby), on(Heal), on(Isolated, Serving), on(Served), on(Heal), on(Isolated, Standby)),
	)
}

// sequence of faults, some seconds apart.
func sequence(faults ...Fault) Round {
	return Round{Faults: faults, Gap: 3 * time.Second, Hold: 3 * time.Second, Settle: true}
}

func on(kind Kind, roles ...Role) Fault { return Fault{Kind: kind, On: roles} }

func at(event string, kind Kind, roles ...Role) Fault { return Fault{kind, roles, event} }
