package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNodeReplaceShowsWhatIsGivenUpFirst(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "node", "replace", "n1")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `n1 has lost the store OLD, and runs with the new, empty store NEW.

Given up for good:
  - store OLD

Its replica is blank

Nothing was changed. To go on:
  antlerctl node replace n1 --forget OLD --reason "..."
`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "node", "replace", "n1", "--forget", "OLD", "--reason", "burnt")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, "n1 votes with store NEW\n", out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "node", "replace", "n1", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, `"old_store": "OLD"`)
	require.Contains(t, out, `"done": false`)
}
