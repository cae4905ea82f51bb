//go:build vm

package failover

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"antler/qemu-tests/lab"
	"antler/services/node/config"
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

	s.pastTheNetwork(s.on)

	s.healthy()
	s.nothingLost()
}

// pastTheNetwork asks a node over its vsock. The host of these machines may have none,
// so the node itself asks.
func (s *scenario) pastTheNetwork(m *lab.Machine) {
	raw, err := os.ReadFile(filepath.Join(s.cluster.Dir, "config", "admin.yaml"))
	s.must(err)

	var client config.Client

	s.must(config.Decode(raw, &client))
	client.Endpoints = []config.Endpoint{{Node: m.Name, Address: "vsock:1"}}

	raw, err = yaml.Marshal(client)
	s.must(err)

	const file = "/run/vsock.yaml"

	_, err = m.Console().Run(s.ctx, "modprobe vsock_loopback && echo "+base64.StdEncoding.EncodeToString(raw)+" | base64 -d > "+file)
	s.must(err)

	answer := s.run(m, "antlerctl -c "+file+" status -o json | grep answered_by")
	if !strings.Contains(answer, m.Name) {
		s.Errorf("antlerctl over vsock: %s", answer)
	}
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

// comesToSay is says for what is true only after a while.
func (s *scenario) comesToSay(want string, args ...string) {
	s.Helper()

	for {
		output, err := s.antlerctl(args...)
		if err == nil && strings.Contains(output, want) {
			return
		}

		select {
		case <-s.ctx.Done():
			s.must(fmt.Errorf("antlerctl %s: want %q in: %s (%s)", strings.Join(args, " "), want, output, fmt.Sprint(err)))
		case <-time.After(time.Second):
		}
	}
}

func (s *scenario) antlerctl(args ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, root+"bin/antlerctl", args...)
	cmd.Env = append(cmd.Environ(), "ANTLERCONFIG="+filepath.Join(s.cluster.Dir, "config", "admin.yaml"))

	output, err := cmd.Output()

	return string(output), err
}
