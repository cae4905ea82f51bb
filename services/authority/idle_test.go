package authority_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"antler/services/authority"
)

// BenchmarkIdleQuorum is what a quorum costs in which nothing happens: three nodes in one
// process, with the product's times, one of which renews its lease. On an emulated
// processor the same costs many times as much: see `make bench-idle`.
func BenchmarkIdleQuorum(b *testing.B) {
	c := newCluster(b)
	for _, n := range c.nodes {
		n.config.Timing = authority.DefaultTiming()
	}

	c.formed()

	// The leadership may still move.
	const settling, watched = 10 * time.Second, 20 * time.Second

	time.Sleep(settling)

	before := spent(b)

	for range b.N {
		time.Sleep(watched)
	}

	cost := spent(b) - before
	b.ReportMetric(100*cost.Seconds()/(float64(b.N)*watched.Seconds()), "cpu-%-of-three")
}

// spent is the processor time of this process.
func spent(b *testing.B) time.Duration {
	b.Helper()

	var usage unix.Rusage

	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))

	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
