package lab

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsBetweenTheMarks(t *testing.T) {
	for name, seen := range map[string][]string{
		"in order":                   {"echo lab-''begin-2; pidof x", "echo lab-''end-2 $?", "lab-begin-2", "answer: 7", "# lab-end-2 0"},
		"the echo follows the mark":  {"echo lab-''begin-2; pidof x", "lab-begin-2echo lab-''end-2 $?", "", "answer: 7", "# lab-end-2 0"},
		"the mark follows the echo":  {"echo lab-''begin-2; pidof x", "echo lab-''lab-begin-2", "end-2 $?", "answer: 7", "# lab-end-2 0"},
		"something before the marks": {"answer: 6", "# echo lab-''begin-2; pidof x", "# lab-begin-2", "answer: 7", "# lab-end-2 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []ConsoleLine
			for _, text := range seen {
				lines = append(lines, ConsoleLine{Text: text})
			}

			got := between(lines, "lab-begin-2", "lab-end-2")
			assert.Contains(t, got, "answer: 7\n")
			assert.NotContains(t, got, "answer: 6")
		})
	}
}
