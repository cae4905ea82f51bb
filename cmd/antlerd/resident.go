package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mlockOnFault is MLOCK_ONFAULT of mlock2(2): what is in memory stays there, and
// nothing is read for that.
const mlockOnFault = 1

// keepProgramInMemory keeps what was read of antlerd's program from being given up
// for other uses of the memory: the lease ends sooner than a busy card may take to
// read it again, and the next antlerd starts from it.
func keepProgramInMemory() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}

	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("find the program in memory: %w", err)
	}
	defer maps.Close()

	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		if !strings.HasSuffix(lines.Text(), " "+program) {
			continue
		}

		var begin, end uintptr

		_, err = fmt.Sscanf(lines.Text(), "%x-%x ", &begin, &end)
		if err != nil {
			return fmt.Errorf("read %q: %w", lines.Text(), err)
		}

		_, _, errno := unix.Syscall(unix.SYS_MLOCK2, begin, end-begin, mlockOnFault)
		if errno != 0 {
			return fmt.Errorf("keep the program in memory: %w", errno)
		}
	}

	return lines.Err()
}
