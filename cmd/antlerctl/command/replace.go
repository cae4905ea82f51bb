package command

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Upgrade a node, or replace it for good",
		Example: "  antlerctl node upgrade antler-v2-arm64.img.xz -n n3\n  antlerctl node replace n3                  # what would be given up, and how to go on",
	}
	cmd.AddCommand(a.nodeReplace(), a.nodeUpgrade())

	return cmd
}

const replaceHelp = `Give a voter that came back without its memory its vote back: a new machine in
the place of a dead one, or the old one with a new system disk.

Put the new machine there first: with the configuration file of the node that it
replaces (same name, same address), and with blank disks for its replica and its
chunks. It starts, finds that the others remember another one, and waits. Its
replica and its chunks are made and filled by themselves; this command is about its
vote.

Without --forget nothing is changed: it shows what would be given up, and the
command that does it. All other voters must be there, since each of them has to
write down that the old store is void. Meanwhile service goes on; a failover would
need all of them. If it is interrupted, repeat it.

Your name (from your certificate) and the reason are kept in the cluster's record.`

func (a *app) nodeReplace() *cobra.Command {
	request := &antlerv1.ReplaceNodeRequest{}

	cmd := &cobra.Command{
		Use:     "replace NODE [--forget STORE --reason WHY]",
		Short:   "Let a new machine, or one with a new system disk, vote in a node's place",
		Long:    replaceHelp,
		Example: "  antlerctl node replace n3                  # what would be given up, and how to go on\n  antlerctl node replace n3 --forget STORE --reason \"SD card died\"",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Node = given[0]

			reply, err := call(cmd.Context(), a, antlerv1.NewClusterServiceClient, antlerv1.ClusterServiceClient.ReplaceNode, request)
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showReplacement(w, reply) })
		},
	}
	cmd.Flags().StringVar(&request.Forget, "forget", "", "yes, give up this store (its name as shown without --forget)")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")

	return cmd
}

func showReplacement(w io.Writer, reply *antlerv1.ReplaceNodeResponse) error {
	node := reply.GetNode()

	if reply.GetDone() {
		_, err := fmt.Fprintf(w, "%s votes with store %s\n", node, reply.GetNewStore())

		return err
	}

	fmt.Fprintf(w, "%s has lost the store %s, and runs with the new, empty store %s.\n\nGiven up for good:\n", node, reply.GetOldStore(), reply.GetNewStore())

	for _, line := range reply.GetGivenUp() {
		fmt.Fprintf(w, "  - %s\n", line)
	}

	if r := reply.GetReplica(); r != nil {
		fmt.Fprintf(w, "\nIts replica is %s\n", strings.TrimSpace(strings.Join([]string{r.GetPhase(), r.GetDisk(), r.GetError()}, " ")))
	}

	_, err := fmt.Fprintf(w, "\nNothing was changed. To go on:\n  antlerctl node replace %s --forget %s --reason \"...\"\n", node, reply.GetOldStore())

	return err
}
