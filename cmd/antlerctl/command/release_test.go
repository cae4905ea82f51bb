package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVolumeReleaseShowsFirstWhatMustBeTrue(t *testing.T) {
	path := cluster(t)
	// n1 doesn't answer: another node is asked.
	release := func(more ...string) (code int, out, errs string) {
		return run(t, t.Context(), "", append([]string{"-c", path, "volume", "release", "photos"}, more...)...)
	}

	code, out, errs := release("--node", "n1")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `photos is used by n1 alone since 2026-03-01T12:00:00Z.
n1 was last heard of at 2026-03-01T12:00:00Z.
It stays with n9 for reading since 2026-03-01T12:00:00Z.

Once it is released another node may write to it at once, and n1 may go on writing for as
long as it runs: together they destroy files. See first that n1 has no power, or was reset.

Nothing was changed. To go on:
  antlerctl volume release photos --node n1 --yes
`, out)

	code, out, errs = release("-n", "n1", "--yes")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, "photos is released from n1\nIt stays with n9 for reading since 2026-03-01T12:00:00Z.\n", out)

	code, out, errs = release("--node", "n3", "--yes")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, "n3 doesn't use photos: there is nothing to release\n", out)

	code, _, errs = release("--node", "n2", "--yes", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `"reason":"NODE_ALIVE"`)

	code, out, errs = release("--node", "n2", "--force")
	require.Equal(t, exitOK, code, errs)
	require.True(t, strings.HasSuffix(out, "--node n2 --yes --force\n"), out)

	code, out, errs = release("--node", "n1", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, `"done": false`)
	require.Contains(t, out, `"last_heard": "2026-03-01T12:00:00Z"`)

	code, _, errs = release("--yes")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--node is missing: write `antlerctl volume release NAME --node NODE [--yes]`")
}

func TestVolumeReleaseCompletesNodes(t *testing.T) {
	code, out, _ := run(t, t.Context(), "", "__complete", "-c", cluster(t), "volume", "release", "photos", "--node", "")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "n1\nn2\nn3\n")
}
