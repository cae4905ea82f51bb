package faults

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheSeedIsThePlan(t *testing.T) {
	a, b, other := NewPlanner(7), NewPlanner(7), NewPlanner(8)

	different := false

	for range 50 {
		round := a.Next()
		require.Equal(t, round, b.Next())

		different = different || !slices.EqualFunc(round.Faults, other.Next().Faults, func(x, y Fault) bool { return x.String() == y.String() })
	}

	require.True(t, different)
}

// Every kind comes up, on every machine that it makes sense for, and none
// without machines.
func TestPlansHoldEveryFault(t *testing.T) {
	seen, cuts := map[Kind]map[Role]bool{}, map[int]bool{}

	for seed := range uint64(200) {
		p := NewPlanner(seed)

		for range 10 {
			round := p.Next()
			require.NotEmpty(t, round.Faults)
			require.Positive(t, round.Hold)
			require.Less(t, round.Hold+round.Gap+round.Pause, time.Minute)

			for _, f := range round.Faults {
				require.NotEmpty(t, f.On, f)

				if seen[f.Kind] == nil {
					seen[f.Kind] = map[Role]bool{}
				}

				for _, role := range f.On {
					seen[f.Kind][role] = true
				}

				if f.Kind == PowerCut {
					cuts[len(f.On)] = true
				}
			}
		}
	}

	for _, kind := range []Kind{
		PowerCut, LinkCut, OneWay, Isolated, Delay, Loss, HeavyLoss, ChunkserverKilled, AntlerdKilled, ContainerdKilled, Paused,
		ChunkserverStopped, AntlerdStopped, ContainerdStopped, PausedLong,
	} {
		require.Len(t, seen[kind], 3, kind)
	}

	require.Equal(t, map[Role]bool{Serving: true}, seen[MasterKilled])
	require.Equal(t, map[Role]bool{Serving: true}, seen[MasterStopped])
	require.Equal(t, map[Role]bool{Serving: true, Standby: true}, seen[DiskStalled])
	require.Len(t, cuts, 3, "one, two and all three machines")
}

// The catalogue tries every fault on every machine that it makes sense for.
func TestTheCatalogueHoldsEveryFault(t *testing.T) {
	alone := map[Kind]map[Role]bool{}

	for _, round := range Singles() {
		require.Len(t, round.Faults, 1)
		require.True(t, round.Settle)

		f := round.Faults[0]
		if alone[f.Kind] == nil {
			alone[f.Kind] = map[Role]bool{}
		}

		for _, role := range f.On {
			alone[f.Kind][role] = true
		}
	}

	for seed := range uint64(100) {
		for _, f := range NewPlanner(seed).Next().Faults {
			for _, role := range f.On {
				require.True(t, alone[f.Kind][role], f)
			}
		}
	}

	names := map[string]bool{}

	for _, round := range Catalogue() {
		name := round.String() + ", for " + round.Hold.String()
		require.False(t, names[name], "%s is there twice", name)
		names[name] = true
	}
}
