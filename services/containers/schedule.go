package containers

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cpuWeight is a nice value as the weight of a control group (100 is the usual
// one): the kernel gives each step of nice 1.25 times the share of the last, and
// counts nice among the processes of one group only.
func cpuWeight(nice int) int {
	const least, most = 1, 10000

	weight := math.Round(100 * math.Pow(1.25, float64(-nice)))

	return int(min(max(weight, least), most))
}

// schedule sets how the kernel schedules a container that doesn't run yet: its
// program inherits that. Where antlerd doesn't see the process (Talos) it stays
// as it is.
func schedule(pid int, spec ContainerSpecSpec) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fmt.Errorf("list the threads of process %d: %w", pid, err)
	}

	slack := strconv.FormatInt(cmp.Or(spec.TimerSlack, DefaultTimerSlack).Nanoseconds(), 10)

	for _, thread := range threads {
		// runc's threads come and go; the one that becomes the program stays.
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}

		err = unix.Setpriority(unix.PRIO_PROCESS, tid, spec.Nice)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set the priority of process %d: %w", pid, err)
		}

		err = os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte(slack), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set the timer slack of process %d: %w", pid, err)
		}
	}

	return nil
}

// warm reads a program once, so that its first start finds it in memory. It is
// only ever a help.
func (p Places) warm(program string) {
	inside, found := strings.CutPrefix(program, "/usr/")
	if !found {
		return
	}

	file, err := os.Open(filepath.Join(p.Usr, inside))
	if err != nil {
		return
	}
	defer file.Close()

	_, _ = io.Copy(io.Discard, file)
}
