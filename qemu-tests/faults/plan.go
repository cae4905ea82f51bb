// Package faults tries what the promises about failover are worth: seeded random
// sequences of faults on a cluster of virtual machines that is at work. A plan is
// data, made from the seed alone; the runner carries it out, and holds what every
// client was told against what is there in the end.
package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Role of the machine that a fault is for, at the time of the fault.
type Role string

// The roles of the three machines.
const (
	Serving Role = "serving"
	Standby Role = "standby"
	Witness Role = "witness"
)

// Kind of fault.
type Kind string

// The faults that the lab can make.
const (
	// PowerCut of all machines of the fault at once.
	PowerCut Kind = "power cut"
	// LinkCut between the two machines, OneWay from the first to the second,
	// Isolated from all others.
	LinkCut  Kind = "link cut"
	OneWay   Kind = "one-way cut"
	Isolated Kind = "isolated"
	// Delay and Loss on the link between the two, both ways.
	Delay     Kind = "200 ms delay"
	Loss      Kind = "20 % loss"
	HeavyLoss Kind = "50 % loss"
	// Killed is SIGKILL for a process; Stopped is SIGSTOP, for as long as the round holds.
	// Nobody lets mfsmaster go on: it is replaced.
	MasterKilled       Kind = "mfsmaster killed"
	MasterStopped      Kind = "mfsmaster stopped"
	MasterOOM          Kind = "mfsmaster killed for want of memory"
	ChunkserverKilled  Kind = "mfschunkserver killed"
	ChunkserverStopped Kind = "mfschunkserver stopped"
	AntlerdKilled      Kind = "antlerd killed"
	AntlerdStopped     Kind = "antlerd stopped"
	ContainerdKilled   Kind = "containerd killed"
	ContainerdStopped  Kind = "containerd stopped"
	// Disorder is on the link as well: a tenth of the frames comes twice, and all come in
	// another order.
	Disorder Kind = "frames out of order and twice"
	// Paused is the whole machine, for a second; the others for longer than any lease.
	Paused       Kind = "paused for 1 s"
	PausedLong   Kind = "paused for 10 s"
	PausedMinute Kind = "paused for 60 s"
	// DiskStalled: the replica's disk does one request a second. WriteErrors and
	// ReadErrors are what it answers all requests of the kind with, until the machine
	// is started again; DiskReplaced: it has lost its power, and a blank disk is there.
	DiskStalled  Kind = "replica disk stalled"
	WriteErrors  Kind = "replica disk fails to write"
	ReadErrors   Kind = "replica disk fails to read"
	DiskReplaced Kind = "replica disk replaced by a blank one"
	// DiskLies: it forgets in a power cut, the next, what it says it has written.
	DiskLies Kind = "replica disk lies"
	// DiskFull: the file system on the replica has no room left.
	DiskFull Kind = "replica full"
	// ClockAhead and ClockBehind step the wall clock by a day and a half.
	ClockAhead  Kind = "clock steps ahead"
	ClockBehind Kind = "clock steps behind"
	// ClockLost: it loses its power, and its clock begins in the past from then on.
	ClockLost Kind = "power cut of a board without a clock"
	// Switchover is no fault, PowerOn and Heal (of all links) end one: something is to
	// happen meanwhile. Served waits until somebody serves, on whatever is there, Whole
	// until all is as it should be, Compared until the replicas were since they
	// were connected, Comparing until that is under way, and Differed until it finds that
	// they are not the same.
	Switchover Kind = "switchover"
	PowerOn    Kind = "power on"
	Heal       Kind = "links healed"
	Served     Kind = "served"
	Whole      Kind = "whole"
	Compared   Kind = "compared"
	Differed   Kind = "differed"
	Comparing  Kind = "being compared"
)

// Fault is one of a round.
type Fault struct {
	Kind Kind
	// On are the machines that it is for: for a link the two ends.
	On []Role
	// At is the event of the first of them at which it begins; empty for none.
	At string
}

// String is for people.
func (f Fault) String() string {
	on := make([]string, len(f.On))
	for i, role := range f.On {
		on[i] = string(role)
	}

	text := string(f.Kind)
	if len(on) > 0 {
		text = fmt.Sprintf("%s (%s)", f.Kind, strings.Join(on, ", "))
	}

	if f.At != "" {
		text += " at " + f.At
	}

	return text
}

// Round is faults at the same time, and what follows.
type Round struct {
	Faults []Fault
	// Gap between the faults' beginnings, Hold from the last one until all are
	// healed.
	Gap, Hold time.Duration
	// Settle waits until the cluster is healthy again; else the next round begins
	// after a Pause, in the middle of the recovery.
	Settle bool
	Pause  time.Duration
}

// String is for people, and what ONLY= is matched with.
func (r Round) String() string {
	faults := make([]string, len(r.Faults))
	for i, f := range r.Faults {
		faults[i] = f.String()
	}

	return strings.Join(faults, " + ")
}

// Planner makes rounds. The same seed gives the same ones.
type Planner struct{ random *rand.Rand }

// NewPlanner returns a planner at its first round.
func NewPlanner(seed uint64) *Planner {
	return &Planner{random: rand.New(rand.NewPCG(seed, planStream))}
}

// planStream keeps the plan apart from what else the seed is used for.
const planStream = 0xfa017

// Next round: one fault or two, held for up to 15 s.
func (p *Planner) Next() Round {
	round := Round{
		Gap:    p.upTo(3 * time.Second),
		Hold:   time.Second + p.upTo(14*time.Second),
		Settle: p.random.IntN(10) < 6,
		Pause:  time.Second + p.upTo(5*time.Second),
	}

	for range 1 + p.random.IntN(2) {
		round.Faults = append(round.Faults, p.fault())
	}

	return round
}

func (p *Planner) upTo(d time.Duration) time.Duration {
	return time.Duration(p.random.Int64N(int64(d))).Round(10 * time.Millisecond)
}

// fault: power cuts and cut links make up more than half.
func (p *Planner) fault() Fault {
	roles := p.shuffled()
	replica := []Role{Serving, Standby}[p.random.IntN(2)]

	switch n := p.random.IntN(20); {
	case n < 6:
		return Fault{Kind: PowerCut, On: roles[:p.several()]}
	case n < 12:
		kind := []Kind{LinkCut, OneWay, Isolated, Delay, Loss, HeavyLoss}[p.random.IntN(6)]
		if kind == Isolated {
			return Fault{Kind: kind, On: roles[:1]}
		}

		return Fault{Kind: kind, On: roles[:2]}
	case n < 14:
		return Fault{Kind: MasterKilled, On: []Role{Serving}}
	case n < 15:
		return Fault{Kind: MasterStopped, On: []Role{Serving}}
	case n < 16:
		return Fault{Kind: DiskStalled, On: []Role{replica}}
	default:
		kind := []Kind{
			ChunkserverKilled, AntlerdKilled, ContainerdKilled, Paused,
			ChunkserverStopped, AntlerdStopped, ContainerdStopped, PausedLong,
		}[p.random.IntN(8)]

		return Fault{Kind: kind, On: roles[:1]}
	}
}

// several machines lose their power: mostly one.
func (p *Planner) several() int {
	switch n := p.random.IntN(10); {
	case n < 6:
		return 1
	case n < 8:
		return 2
	default:
		return 3
	}
}

// shuffled: the serving machine comes first half of the time.
func (p *Planner) shuffled() []Role {
	roles := []Role{Serving, Standby, Witness}
	p.random.Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })

	if i := p.random.IntN(4); i == 0 {
		for j, role := range roles {
			if role == Serving {
				roles[0], roles[j] = roles[j], roles[0]
			}
		}
	}

	return roles
}
