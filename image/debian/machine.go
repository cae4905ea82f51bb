package debian

import (
	"errors"
	"fmt"
	"os/exec"
)

// CheckMachine says what the machine lacks to put a root filesystem together, before
// minutes are spent on it: uid is that of the user, tools are the programs to be called.
func CheckMachine(uid int, tools []string) error {
	if uid != 0 {
		return errors.New("the root file system holds files of several users: run this as root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed: run scripts/install-packages", tool)
		}
	}
	return nil
}
