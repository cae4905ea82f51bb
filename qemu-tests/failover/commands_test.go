//go:build vm

package failover

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlannedCommands types what people type. What the commands print in each case is in
// the tests of cmd/antlerctl; here it is that a real cluster stands behind them.
func TestPlannedCommands(t *testing.T) {
	s := begin(t, "what antlerctl offers is there on a real cluster")
	serving, other := s.serving.Name, s.otherReplica().Name

	for _, c := range []struct {
		want string
		args []string
	}{
		{serving, []string{"status"}},
		{"authority.granted", []string{"events"}},
		{"mfsmaster", []string{"services"}},
		{"UpToDate", []string{"get", "replica", "-n", other, "-o", "json"}},
		{"initialized", []string{"logs", "mfsmaster", "-n", serving}},
		{"commands", []string{"volume", "create", "commands", "--size", "64MiB"}},
		{"commands", []string{"volume", "get", "commands"}},
		{"128", []string{"volume", "expand", "commands", "--size", "128MiB"}},
		{"commands", []string{"volume", "list"}},
	} {
		s.says(c.want, c.args...)
	}

	const file = "/var/lib/antler/mnt/volumes/commands/data/kept"

	s.run(s.on, "echo 'what was written' > "+file+"; echo done")
	s.says("commands", "volume", "delete", "commands")
	s.run(s.on, "test ! -e "+file+" && echo gone")
	s.says("commands", "volume", "list", "--archived")
	s.says("commands", "volume", "undelete", "commands")

	if content := s.run(s.on, "cat "+file); !strings.Contains(content, "what was written") {
		s.Errorf("an undeleted volume has another content: %q", content)
	}

	if output, err := s.antlerctl("failover", other, "--force", "--reason", "to see it refused"); err == nil {
		s.Errorf("a failover by a person's word was not refused though %s serves: %s", serving, output)
	}

	s.says("", "switchover")
	s.servedBy(s.otherReplica())

	var status map[string]any
	if err := json.Unmarshal([]byte(s.says("", "status", "-o", "json")), &status); err != nil {
		s.Errorf("status -o json: %v", err)
	}

	s.healthy()
	s.nothingLost()
}

// says runs antlerctl, which must end well and print what is wanted.
func (s *scenario) says(want string, args ...string) string {
	s.Helper()

	output, err := s.antlerctl(args...)
	if err != nil || !strings.Contains(output, want) {
		s.Errorf("antlerctl %s: %v, want %q in: %s", strings.Join(args, " "), err, want, output)
	}

	return output
}

func (s *scenario) antlerctl(args ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, root+"bin/antlerctl", args...)
	cmd.Env = append(cmd.Environ(), "ANTLERCONFIG="+filepath.Join(s.cluster.Dir, "config", "admin.yaml"))

	output, err := cmd.Output()

	return string(output), err
}
