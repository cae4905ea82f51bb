package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGuardResetsAfterTheTrial(t *testing.T) {
	var steps []string
	guard(trialTime,
		func(d time.Duration) { steps = append(steps, "slept "+d.String()) },
		func() error { steps = append(steps, "reset"); return nil })
	require.Equal(t, []string{"slept 20m0s", "reset"}, steps)
}
