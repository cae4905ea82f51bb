package handler

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"antler/services/node/config"
)

func TestItGivesUpRefusing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()

	assert.Equal(t, Refused, ask(ctx, filepath.Join(t.TempDir(), "none"), "fence-peer meta ipv4 10.0.0.2\n"))
}

func TestOtherHandlersOnlyTell(t *testing.T) {
	nothing := func(string) string { return "" }

	for _, name := range []string{"split-brain", "before-resync-target", "pri-on-incon-degr", "one of a later DRBD"} {
		assert.Zero(t, Main([]string{name, "minor-0"}, nothing, "/nowhere"))
	}
}

// The constant is written out: the package that knows the directory is a large one.
func TestTheSocketIsInOurDirectory(t *testing.T) {
	assert.Equal(t, config.RunDir, filepath.Dir(Socket))
}

// Whatever comes over the socket, only 4 lets writes go on.
func FuzzParseAnswer(f *testing.F) {
	for _, line := range []string{"4\n", "1 not the holder\n", "7\n", "5\n", "44\n", "", "4x"} {
		f.Add(line)
	}

	f.Fuzz(func(t *testing.T, line string) {
		code, err := parseAnswer(line)
		if err == nil && code != Outdated && code != Refused {
			t.Errorf("%q gave %d", line, code)
		}

		if number, _ := strconv.Atoi(strings.Fields(line + " none")[0]); err == nil && code == Outdated && number != Outdated {
			t.Errorf("%q let writes go on", line)
		}
	})
}
