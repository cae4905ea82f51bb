package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// A name that all clients claim (create, unless it is there) and release (unlink) is a
// register with two values, and the only thing here that they share. It has to be
// linearizable: there is one order of all calls, each somewhere between its beginning and
// its end, in which every answer is true. Porcupine looks for it.

// late is how much later than a call is made the host may hear of it.
const late = time.Second

// repeated is what a call takes at least that MooseFS repeats: it has to connect again.
const repeated = 100 * time.Millisecond

// decideTime is for one name; what takes longer is not decided.
const decideTime = 20 * time.Second

// claim is one call as the checker takes it. One that may have been carried out, or not,
// has no answer.
type claim struct{ release, doubtful bool }

// register is a name that is there, or not.
var register = porcupine.NondeterministicModel{
	Init: func() []any { return []any{false} },
	Step: func(state, input, output any) []any {
		there, call := state.(bool), input.(claim)
		after := !call.release

		switch {
		case call.doubtful:
			return []any{there, after}
		// It took effect: it was not so before.
		case output.(bool) && there != after:
			return []any{after}
		case !output.(bool) && there == after:
			return []any{there}
		}

		return nil
	},
	Equal: func(a, b any) bool { return a == b },
}

// Claims holds what all clients were told of the names that they share against each other.
// It returns what can't be true, and how many names were not decided upon in time.
//
// MooseFS repeats a request of which the answer was lost with the master. So a call during
// a fault may have been carried out once more, and one that failed at any time or never.
func Claims(ops []Op, faults ...Window) (wrong []string, undecided int) {
	names := map[string][]porcupine.Operation{}

	for _, op := range ops {
		if op.Kind != Claim && op.Kind != Release {
			continue
		}

		names[op.Path] = append(names[op.Path], op.claims(faults)...)
	}

	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch porcupine.CheckOperationsTimeout(register.ToModel(), names[name], decideTime) {
		case porcupine.Illegal:
			wrong = append(wrong, fmt.Sprintf("%s: no order of %d claims and releases explains what clients were told", name, len(names[name])))
		case porcupine.Unknown:
			undecided++
		}
	}

	return wrong, undecided
}

// claims are what a call was to the register.
func (o Op) claims(faults []Window) []porcupine.Operation {
	called := porcupine.Operation{
		Input: claim{release: o.Kind == Release}, Output: o.Took, Call: o.Start - late.Nanoseconds(), Return: o.End,
	}
	again := called
	again.Input = claim{release: o.Kind == Release, doubtful: true}

	switch {
	case !o.Acknowledged():
		again.Return = math.MaxInt64

		return []porcupine.Operation{again}
	case o.in(faults) && o.End-o.Start >= repeated.Nanoseconds():
		return []porcupine.Operation{called, again}
	}

	return []porcupine.Operation{called}
}
