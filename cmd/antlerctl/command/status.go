package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "One screen: who serves, the nodes, space, and what is wrong",
		Long: `Show who serves, the quorum, all nodes with their replicas, the space, and every
problem with what to do about it. With --node, show what that node itself knows.

The exit code is 0 whenever a node has answered; scripts look at .cluster.health
in the JSON.`,
		Example: "  antlerctl status\n  antlerctl status -n n2          # as n2 sees it\n  antlerctl status -o json | jq -r .cluster.serving.node",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := call(cmd.Context(), a, antlerv1.NewClusterServiceClient, antlerv1.ClusterServiceClient.GetStatus,
				&antlerv1.GetStatusRequest{Local: a.node != ""})
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return screen(w, reply.GetCluster()) })
		},
	}
}

// screen prints the status in words.
func screen(out io.Writer, c *antlerv1.ClusterStatus) error {
	w := &strings.Builder{}

	health := strings.TrimPrefix(c.GetHealth().String(), "HEALTH_")

	head := [][2]string{
		{"cluster", fmt.Sprintf("%s is %s", c.GetName(), health)},
		{"serves", servingLine(c)},
		{"quorum", quorumLine(c.GetAuthority())},
		{"space", spaceLine(c.GetSpace())},
	}

	for _, line := range head {
		fmt.Fprintf(w, "%-8s %s\n", line[0], line[1])
	}

	fmt.Fprintln(w)

	rows := [][]string{{"NODE", "ADDRESS", "STATE", "REPLICA", "SERVICES", "ROLES"}}
	for _, node := range c.GetNodes() {
		rows = append(rows, nodeRow(node))
	}

	err := table(w, rows)
	if err != nil {
		return err
	}

	for _, problem := range c.GetProblems() {
		mark := "warning"
		if problem.GetSeverity() == antlerv1.Problem_SEVERITY_ERROR {
			mark = "WRONG"
		}

		fmt.Fprintf(w, "\n%s: %s\n", mark, problem.GetSummary())

		if problem.GetAdvice() != "" {
			fmt.Fprintf(w, "  -> %s\n", problem.GetAdvice())
		}
	}

	fmt.Fprintf(w, "\nas %s saw it at %s\n", c.GetAnsweredBy(), c.GetTime().AsTime().Format(time.RFC3339))

	_, err = io.WriteString(out, w.String())

	return err
}

func servingLine(c *antlerv1.ClusterStatus) string {
	serving := c.GetServing()
	if serving.GetNode() == "" {
		return "nobody"
	}

	parts := []string{serving.GetNode()}

	if serving.Since != nil {
		since := serving.GetSince().AsTime()
		parts[0] += fmt.Sprintf(" since %s (%s)", since.Format(time.RFC3339), span(c.GetTime().AsTime().Sub(since)))
	}

	parts = append(parts, fmt.Sprintf("epoch %d", serving.GetEpoch()))

	if serving.GetMasterVersion() != "" {
		parts = append(parts, "mfsmaster "+serving.GetMasterVersion())
	}

	return strings.Join(append(parts, serving.GetAddresses()...), ", ")
}

func quorumLine(authority *antlerv1.Authority) string {
	leader := "no leader"
	if authority.GetQuorum() && authority.GetLeader() != "" {
		leader = "leader " + authority.GetLeader()
	}

	return fmt.Sprintf("%s, %d of %d voters are there", leader, authority.GetVotersAlive(), authority.GetVoters())
}

func spaceLine(space *antlerv1.Space) string {
	if space.GetTotalBytes() == 0 && space.GetChunkservers() == 0 {
		return fmt.Sprintf("unknown, %d chunkservers are expected", space.GetChunkserversExpected())
	}

	return fmt.Sprintf("%s free of %s, %d of %d chunkservers, %d chunks",
		formatSize(space.GetFreeBytes()), formatSize(space.GetTotalBytes()), space.GetChunkservers(), space.GetChunkserversExpected(), space.GetChunks())
}

func nodeRow(node *antlerv1.NodeStatus) []string {
	return []string{
		node.GetName(), node.GetAddress(), nodeState(node), replicaState(node), servicesState(node), strings.Join(node.GetRoles(), ","),
	}
}

func nodeState(node *antlerv1.NodeStatus) string {
	if !node.GetAlive() {
		return "DOWN"
	}

	state := "alive"
	if node.GetServing() {
		state = "serves"
	}

	if node.GetLeader() {
		state += ",leads"
	}

	return state
}

func replicaState(node *antlerv1.NodeStatus) string {
	replica := node.GetReplica()

	switch {
	case replica == nil:
		return "-"
	case !node.GetAlive():
		return "unknown"
	case replica.GetPhase() != "up":
		return replica.GetPhase()
	}

	state := strings.TrimSpace(replica.GetRole() + " " + replica.GetDisk())
	if replica.GetSyncPercent() < 100 && replica.GetDisk() != "UpToDate" {
		state += fmt.Sprintf(" %.0f%%", replica.GetSyncPercent())
	}

	return state
}

func servicesState(node *antlerv1.NodeStatus) string {
	switch {
	case !node.GetAlive():
		return "unknown"
	case len(node.GetServicesDown()) > 0:
		return "down: " + strings.Join(node.GetServicesDown(), ",")
	default:
		return "ok"
	}
}

// span is a length of time for people, to about two digits.
func span(d time.Duration) string {
	const day = 24 * time.Hour

	switch {
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}
