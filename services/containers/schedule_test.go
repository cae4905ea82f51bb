package containers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWeightOfANiceValue(t *testing.T) {
	for nice, weight := range map[int]int{0: 100, -1: 125, 1: 80, -10: 931, -20: 8674, 19: 1} {
		assert.Equal(t, weight, cpuWeight(nice), "nice %d", nice)
	}
}

func TestContainersWeighMoreThanOthers(t *testing.T) {
	places := Places{CgroupFS: t.TempDir(), CgroupParent: "/antler"}
	require.NoError(t, places.weigh(), "nothing to weigh yet")

	file := filepath.Join(places.CgroupFS, "antler", "cpu.weight")
	require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("100\n"), 0o600))
	require.NoError(t, places.weigh())

	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "200", string(got))
}
