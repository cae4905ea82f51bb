//go:build vm

package failover

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// idleTime is what each node is watched for.
const idleTime = 30 * time.Second

// ticks are those of a processor in a second (USER_HZ).
const ticks = 100

// BenchmarkIdle measures what antlerd costs where nothing happens, and who else has
// the processor there.
func BenchmarkIdle(b *testing.B) {
	binary, err := os.Stat(root + "bin/arm64/antlerd")
	if err != nil {
		b.Fatal(err)
	}

	figures := map[string]any{"binary_mb": binary.Size() / 1e6}

	for _, m := range suite.cluster.Machines {
		before := usage(b, m)

		// Time has to pass: that is what is measured.
		time.Sleep(idleTime)

		after := usage(b, m)

		shares := after.since(before)
		for name, percent := range shares {
			figures[m.Name+"_processor_percent_"+name] = percent
		}

		figures[m.Name+"_resident_mib"] = after.residentKiB >> 10
		b.ReportMetric(shares["antlerd"], m.Name+"-cpu-%")
		b.ReportMetric(float64(after.residentKiB>>10), m.Name+"-MiB")
	}

	suite.report.Name = "idle"
	suite.report.Add(lab.Case{Name: "Idle", Promise: "what antlerd costs in an idle cluster", Passed: true, Figures: figures})
}

// cost of the processes so far, by their names, and antlerd's resident memory.
type cost struct {
	ticks       map[string]int
	residentKiB int
}

// since is each name's share of a processor in percent, where there is one.
func (c cost) since(before cost) map[string]float64 {
	shares := map[string]float64{}

	for name, now := range c.ticks {
		if spent := now - before.ticks[name]; spent > 0 {
			shares[name] = math.Round(1000*float64(spent)/ticks/idleTime.Seconds()) / 10
		}
	}

	return shares
}

// usage reads what all processes have had of the processor.
func usage(b *testing.B, m *lab.Machine) cost {
	b.Helper()

	output, err := m.Console().Run(b.Context(),
		`cat /proc/[0-9]*/stat 2>/dev/null; while read k v u; do [ "$k" = VmRSS: ] && echo "rss=$v"; done < /proc/$(pidof antlerd)/status; true`)
	if err != nil {
		b.Fatal(err)
	}

	c := cost{ticks: map[string]int{}}

	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)

		if rss, found := strings.CutPrefix(line, "rss="); found {
			c.residentKiB, _ = strconv.Atoi(rss)
		}

		// PID (NAME) STATE ..., and from the name's end on utime and stime are the
		// 12th and 13th (proc_pid_stat(5)).
		_, rest, found := strings.Cut(line, " (")
		name, rest, closed := strings.Cut(rest, ") ")
		fields := strings.Fields(rest)

		if !found || !closed || len(fields) < 13 {
			continue
		}

		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		c.ticks[kind(name)] += user + system
	}

	return c
}

// kind is the name without what tells the kernel's workers from each other.
func kind(name string) string {
	name, _, _ = strings.Cut(name, "/")

	return name
}
