package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMistakesInTheCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"status -o xml":                    "--output xml: use table, json, yaml",
		"status now":                       "\"now\" is one too many: write `antlerctl status`: see `antlerctl status --help`",
		"volume create v --size much":      "invalid argument \"much\" for \"--size\" flag: \"much\" is not a size: " + sizeHelp + ": see `antlerctl volume create --help`",
		"volume create v":                  "--size is missing: write `antlerctl volume create NAME --size SIZE`: see `antlerctl volume create --help`",
		"volume create":                    "something is missing: write `antlerctl volume create NAME --size SIZE`: see `antlerctl volume create --help`",
		"volume get a b":                   "\"b\" is one too many: write `antlerctl volume get NAME`: see `antlerctl volume get --help`",
		"flash a.img":                      "something is missing after \"a.img\": write `antlerctl flash IMAGE TARGET`: see `antlerctl flash --help`",
		"status --frobnicate":              "unknown flag: --frobnicate: see `antlerctl status --help`",
		"events --folow":                   "unknown flag: --folow: did you mean --follow?: see `antlerctl events --help`",
		"statsu":                           "unknown command \"statsu\" for \"antlerctl\": did you mean status?: see `antlerctl --help`",
		"volume crate v --size 1GiB":       "unknown command \"crate\" for \"antlerctl volume\": did you mean create?: see `antlerctl volume --help`",
		"node frobnicate":                  "unknown command \"frobnicate\" for \"antlerctl node\": see `antlerctl node --help`",
		"completion fihs":                  "unknown command \"fihs\" for \"antlerctl completion\": did you mean fish?: see `antlerctl completion --help`",
		"help volme":                       "unknown command \"volme\" for \"antlerctl\": did you mean volume?: see `antlerctl --help`",
		"gen cert":                         "--name and --output is missing: write `antlerctl gen cert --name NAME -o FILE`: see `antlerctl gen cert --help`",
		"gen cert --name x -o y --role no": "--role no: use admin or reader",
	} {
		code, out, errs := run(t, t.Context(), "", strings.Fields(line)...)
		require.Equal(t, exitUsage, code, line)
		require.Equal(t, "antlerctl: "+want+"\n", errs, line)
		require.Empty(t, out, line)
	}
}

func TestAGroupOfCommandsShowsItsHelp(t *testing.T) {
	for _, line := range []string{"", "volume", "node", "metadata", "gen", "help volume"} {
		code, out, errs := run(t, t.Context(), "", strings.Fields(line)...)
		require.Equal(t, exitOK, code, errs)
		require.Contains(t, out, "[command] --help", line)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	path := cluster(t)

	for line, want := range map[string]string{
		"status --frobnicate -o json": `{"error":{"code":"InvalidArgument","reason":"USAGE","message":"unknown flag: --frobnicate: see ` + "`antlerctl status --help`" + `","hints":[],"fields":[],"exit_code":2}}`,
		"-c nowhere.yaml status --output=json": `{"error":{"code":"Unknown","reason":"FAILED","message":"read client configuration: open nowhere.yaml: no such file or directory",` +
			`"hints":[],"fields":[],"exit_code":1}}`,
		"-c PATH switchover n3 -o json": `{"error":{"code":"FailedPrecondition","reason":"X","message":"switch over to n3: it is not up to date","hints":["wait until it is"],"fields":[],"exit_code":1}}`,
		"-c PATH volume expand v --size 1 -o json": `{"error":{"code":"InvalidArgument","reason":"BAD_FIELD","message":"--size: 1 is not between 1 MiB and 1 EiB",` +
			`"hints":[],"fields":[{"field":"--size","description":"1 is not between 1 MiB and 1 EiB"}],"exit_code":2}}`,
		"status -o json": `{"error":{"code":"FailedPrecondition","reason":"NO_CONFIGURATION","message":"no client configuration: give one with --config or $ANTLERCONFIG, ` +
			"or put it at ~/.antler/config.yaml (`antlerctl gen config` makes admin.yaml)" + `","hints":[],"fields":[],"exit_code":1}}`,
	} {
		_, out, errs := run(t, t.Context(), "", strings.Fields(strings.ReplaceAll(line, "PATH", path))...)
		require.Equal(t, want+"\n", errs)
		require.Empty(t, out)
		require.True(t, json.Valid([]byte(errs)))
	}
}

func TestFieldsAreCalledAsTheyAreWritten(t *testing.T) {
	code, _, errs := run(t, t.Context(), "", "-c", cluster(t), "volume", "expand", "v", "--size", "1")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "antlerctl: --size: 1 is not between 1 MiB and 1 EiB\n", errs)
}

func TestWhoWantsJSONGetsIt(t *testing.T) {
	path := cluster(t)

	for line, want := range map[string]bool{
		"-c nowhere.yaml events -fo json":              true,
		"-c nowhere.yaml events -fojson":               true,
		"-c nowhere.yaml status -o table -o json":      true,
		"-c nowhere.yaml status -o json -o table":      false,
		"-c nowhere.yaml get -- -o json":               false,
		"status now -o json":                           true,
		"statsu -o json":                               true,
		"statsu --frobnicate -o json":                  true,
		"status --frobnicate":                          false,
		"gen cert --ca nowhere --name x -o json":       false,
		"gen cert --frobnicate --name x -o json":       false,
		"-c PATH switchover n3 --output json":          true,
		"-c nowhere.yaml volume create v -o json":      true,
		"-c nowhere.yaml logs json -o yaml":            false,
		"-c nowhere.yaml metadata backup json --outpu": false,
	} {
		_, _, errs := run(t, t.Context(), "", strings.Fields(strings.ReplaceAll(line, "PATH", path))...)
		require.Equal(t, want, strings.HasPrefix(errs, `{"error":`), "%s: %s", line, errs)
	}
}

func TestATimeoutIsCalledOne(t *testing.T) {
	code, _, errs := run(t, t.Context(), "", "-c", cluster(t), "status", "--timeout", "1ns", "-o", "json")
	require.Equal(t, exitFailed, code)
	require.Regexp(t, `^{"error":{"code":"DeadlineExceeded","reason":"NO_NODE_ANSWERS","message":"no node of cluster home has answered in time:`+
		`\\n  n1 at 127\.0\.0\.1:\d+: no answer yet\\nTry again, or give it longer with --timeout"`, errs)

	failed := failureOf(nil, fmt.Errorf("n3 has not said how its upgrade ended: %w", context.DeadlineExceeded))
	require.Equal(t, "DeadlineExceeded", failed.Code)
	require.Equal(t, "DEADLINEEXCEEDED", failed.Reason)
}
