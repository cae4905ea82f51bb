package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// mlockOnFault is MLOCK_ONFAULT of mlock2(2): what is in memory stays there, and
// nothing is read for that.
const mlockOnFault = 1

// keepProgramInMemory keeps what was read of antlerd's program from being given up
// for other uses of the memory: the lease ends sooner than a busy card may take to
// read it again, and the next antlerd starts from it.
func keepProgramInMemory() error {
	parts, err := program()
	if err != nil {
		return fmt.Errorf("find the program in memory: %w", err)
	}

	for _, part := range parts {
		_, _, errno := unix.Syscall(unix.SYS_MLOCK2, part.StartAddr, part.EndAddr-part.StartAddr, mlockOnFault)
		if errno != 0 {
			return fmt.Errorf("keep the program in memory: %w", errno)
		}
	}

	return nil
}

// program returns where parts of this process's program are in its memory.
func program() ([]*procfs.ProcMap, error) {
	self, err := procfs.Self()
	if err != nil {
		return nil, err
	}

	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}

	parts, err := self.ProcMaps()
	if err != nil {
		return nil, err
	}

	parts = slices.DeleteFunc(parts, func(part *procfs.ProcMap) bool { return part.Pathname != path })
	if len(parts) == 0 {
		return nil, errors.New("there is nothing of " + path)
	}

	return parts, nil
}
