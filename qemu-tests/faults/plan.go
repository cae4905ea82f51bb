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
	ChunkserverKilled  Kind = "mfschunkserver killed"
	ChunkserverStopped Kind = "mfschunkserver stopped"
	AntlerdKilled      Kind = "antlerd killed"
	AntlerdStopped     Kind = "antlerd stopped"
	ContainerdKilled   Kind = "containerd killed"
	ContainerdStopped  Kind = "containerd stopped"
	// Paused is the whole machine, for a second; PausedLong for longer than any lease.
	Paused     Kind = "paused for 1 s"
	PausedLong Kind = "paused for 10 s"
	// DiskStalled: the replica's disk does one request a second.
	DiskStalled Kind = "replica disk stalled"
)

// Fault is one of a round.
type Fault struct {
	Kind Kind
	// On are the machines that it is for: for a link the two ends.
	On []Role
}

// String is for people.
func (f Fault) String() string {
	on := make([]string, len(f.On))
	for i, role := range f.On {
		on[i] = string(role)
	}

	return fmt.Sprintf("%s (%s)", f.Kind, strings.Join(on, ", "))
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
	replicas := []Role{Serving, Standby}[p.random.IntN(2)]

	switch n := p.random.IntN(20); {
	case n < 6:
		return Fault{PowerCut, roles[:p.several()]}
	case n < 12:
		kind := []Kind{LinkCut, OneWay, Isolated, Delay, Loss, HeavyLoss}[p.random.IntN(6)]
		if kind == Isolated {
			return Fault{kind, roles[:1]}
		}

		return Fault{kind, roles[:2]}
	case n < 14:
		return Fault{MasterKilled, []Role{Serving}}
	case n < 15:
		return Fault{MasterStopped, []Role{Serving}}
	case n < 16:
		return Fault{DiskStalled, []Role{replicas}}
	default:
		kind := []Kind{
			ChunkserverKilled, AntlerdKilled, ContainerdKilled, Paused,
			ChunkserverStopped, AntlerdStopped, ContainerdStopped, PausedLong,
		}[p.random.IntN(8)]

		return Fault{kind, roles[:1]}
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
