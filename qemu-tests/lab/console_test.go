package lab

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsBetweenTheMarks(t *testing.T) {
	for name, seen := range map[string][]string{
		"in order":                          {"stty -echo; echo lab-''begin-2; pidof x", "lab-begin-2", "answer: 7", "# lab-end-2 0"},
		"the prompt stands before the mark": {"# lab-begin-2", "answer: 7", "# lab-end-2 0"},
		"something before the marks":        {"answer: 6", "# lab-begin-2", "answer: 7", "# lab-end-2 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []ConsoleLine
			for _, text := range seen {
				lines = append(lines, ConsoleLine{Text: text})
			}

			got := between(lines, "lab-begin-2", "lab-end-2")
			assert.Equal(t, "answer: 7\n", got)
		})
	}
}

func TestKernelFault(t *testing.T) {
	for line, want := range map[string]bool{
		"[  180.995957] Internal error: Oops: 0000000096000007 [#1] SMP":   true,
		"[  181.014921] Kernel panic - not syncing: Oops: Fatal exception": true,
		"[    3.1] WARNING: CPU: 0 PID: 1 at fs/inode.c:12":                true,
		"[    0.0] Kernel command line: panic=5 root=/dev/dm-0":            false,
		"antlerd[183]: warn	failed to heartbeat to":                        false,
	} {
		assert.Equal(t, want, kernelFault(line), line)
	}
}
