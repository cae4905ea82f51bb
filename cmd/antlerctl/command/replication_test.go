package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResolveShowsBothSidesFirst(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "replication", "resolve", "--keep", "n2")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `n2:
  - it serves

n1:
  - it reaches 95
  - it was down

Given up for good, but for the metadata, which is saved as n1/backup-replica-7-95:
  - what only n1 has

The last change on n1 is of 1970-01-01T00:00:00Z, by its clock.

No replica was changed. To go on:
  antlerctl replication resolve --keep n2 --discard n1 --reason "..."
`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "replication", "resolve", "--keep", "n2", "--discard", "n1", "--reason", "down")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "n1 is filled from n2; what only it had is saved as n1/backup-replica-7-95")

	code, _, errs = run(t, t.Context(), "", "-c", path, "replication", "resolve")
	require.NotEqual(t, exitOK, code)
	require.Contains(t, errs, "keep")
}
