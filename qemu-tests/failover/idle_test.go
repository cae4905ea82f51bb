//go:build vm

package failover

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// BenchmarkIdle measures what antlerd costs where nothing happens.
func BenchmarkIdle(b *testing.B) {
	binary, err := os.Stat(root + "bin/arm64/antlerd")
	if err != nil {
		b.Fatal(err)
	}

	figures := map[string]any{"binary_mb": binary.Size() / 1e6}

	for _, m := range suite.cluster.Machines {
		before := usage(b, m)

		// Time has to pass: that is what is measured.
		time.Sleep(30 * time.Second)

		after := usage(b, m)
		percent := float64(after.ticks-before.ticks) / 30 // 100 ticks a second
		figures[m.Name+"_resident_mib"] = after.residentKiB >> 10
		figures[m.Name+"_processor_percent"] = percent
		b.ReportMetric(percent, m.Name+"-cpu-%")
		b.ReportMetric(float64(after.residentKiB>>10), m.Name+"-MiB")
	}

	suite.report.Name = "idle"
	suite.report.Add(lab.Case{Name: "Idle", Promise: "what antlerd costs in an idle cluster", Passed: true, Figures: figures})
}

type cost struct {
	ticks       int
	residentKiB int
}

// usage reads antlerd's processor time and resident memory.
func usage(b *testing.B, m *lab.Machine) cost {
	b.Helper()

	output, err := m.Console().Run(b.Context(),
		`p=$(pidof antlerd); set -- $(cat /proc/$p/stat); echo "ticks=$(( ${14} + ${15} ))"; while read k v u; do [ "$k" = VmRSS: ] && echo "rss=$v"; done < /proc/$p/status; true`)
	if err != nil {
		b.Fatal(err)
	}

	var c cost

	for _, line := range strings.Split(output, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		n, _ := strconv.Atoi(value)

		switch key {
		case "ticks":
			c.ticks = n
		case "rss":
			c.residentKiB = n
		}
	}

	return c
}
