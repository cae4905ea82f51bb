package containers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWeightOfANiceValue(t *testing.T) {
	for nice, weight := range map[int]int{0: 100, -1: 125, 1: 80, -10: 931, -20: 8674, 19: 1} {
		assert.Equal(t, weight, cpuWeight(nice), "nice %d", nice)
	}
}
