package command

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// quoted is one word on a command line, whatever is in it.
var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'|\$\([^)]*\)`)

// TestEveryCommandHasExamplesThatWork: as far as that can be seen without a cluster,
// they are commands, with flags and as many arguments as they have.
func TestEveryCommandHasExamplesThatWork(t *testing.T) {
	var all func(*cobra.Command, func(*cobra.Command))

	all = func(cmd *cobra.Command, each func(*cobra.Command)) {
		each(cmd)

		for _, below := range cmd.Commands() {
			if below.Name() != "completion" {
				all(below, each)
			}
		}
	}

	all(New(Environment{Now: time.Now}), func(cmd *cobra.Command) {
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.Contains(t, cmd.Example, "antlerctl", "%s has no example", cmd.CommandPath())

		for _, line := range strings.Split(cmd.Example, "\n") {
			checkExample(t, line)
		}
	})
}

func checkExample(t *testing.T, line string) {
	t.Helper()

	line, _, _ = strings.Cut(quoted.ReplaceAllString(line, "WORD"), "#")
	line, _, _ = strings.Cut(line, "|")

	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "antlerctl" {
		return // what else a person types
	}

	root := New(Environment{Now: time.Now})

	cmd, rest, err := root.Find(words[1:])
	require.NoError(t, err, line)

	cmd.SetContext(context.Background())
	require.NoError(t, cmd.ParseFlags(rest), line)
	require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
	require.NoError(t, checkRequired(cmd), line)
}
