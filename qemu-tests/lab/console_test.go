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
