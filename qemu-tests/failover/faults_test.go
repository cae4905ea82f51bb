//go:build vm

package failover

import (
	"context"
	"fmt"
	"strings"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
)

// harm types a command that is the fault on the machine, and returns when.
func (s *scenario) harm(m *lab.Machine, command string) time.Time {
	at := time.Now()

	_, err := m.Console().Run(s.ctx, command)
	s.must(err)

	s.faults = append(s.faults, history.Window{From: at, To: time.Now()})

	return at
}

// run a command on the machine and return the last line that it printed.
func (s *scenario) run(m *lab.Machine, command string) string {
	s.Helper()

	// antlerd's events come on the same console.
	output, err := m.Console().Run(s.ctx, command+" | sed 's/^/answer: /'")
	s.must(err)

	_, answer, found := strings.Cut(output, "answer: ")
	if !found {
		s.must(fmt.Errorf("%s on %s: no answer in %q", command, m.Name, output))
	}

	answer, _, _ = strings.Cut(answer, "\n")

	return strings.TrimSpace(answer)
}

// shutDown asks the machine to power off, waits until it has, and returns when
// it was asked and when it was off.
func (s *scenario) shutDown(m *lab.Machine) (at, off time.Time) {
	at = s.askToShutDown(m)

	return at, s.awaitOff(m)
}

func (s *scenario) askToShutDown(m *lab.Machine) time.Time {
	at := time.Now()

	_, err := m.Console().Run(s.ctx, "(sleep 1; systemctl poweroff) >/dev/null 2>&1 &")
	s.must(err)

	return at
}

// awaitOff waits until the machine is off, and no longer than somebody who
// stands next to it would: one that resets instead never is.
func (s *scenario) awaitOff(m *lab.Machine) time.Time {
	ctx, cancel := context.WithTimeout(s.ctx, shutDownTime)
	defer cancel()

	began := time.Now()

	s.must(m.AwaitOff(ctx))

	off := time.Now()
	s.cluster.Say("%s: powered off after %.1f s", m.Name, off.Sub(began).Seconds())
	s.cluster.PowerCut(m)

	return off
}

func (s *scenario) powerCut(m *lab.Machine) time.Time {
	at := s.cluster.PowerCut(m)
	s.faults = append(s.faults, history.Window{From: at, To: time.Now()})

	return at
}

// cut the machine off from others.
func (s *scenario) cut(m *lab.Machine, from ...*lab.Machine) time.Time {
	at := time.Now()

	for _, other := range from {
		s.cluster.Switch.Cut(m.Name, other.Name)
	}

	s.faults = append(s.faults, history.Window{From: at, To: time.Now()})

	return at
}
