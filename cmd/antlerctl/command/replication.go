package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) replicationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "replication",
		Short:   "End a split brain: two replicas that were written apart from each other",
		Example: "  antlerctl replication resolve --keep n2      # what each side has, and how to go on",
	}
	cmd.AddCommand(a.replicationResolve())

	return cmd
}

const resolveHelp = `End a split brain by giving up what only one of the two replicas has.

It can come about when a person has made a node serve that lacked the other's
writes (failover --force, metadata restore), and the other one comes back. The
replicas then stay apart, and service goes on with one of them.

Without --discard no replica is changed: the metadata of the side that would be
given up is saved as a source on that node (antlerctl metadata sources), and you are
shown what each side has, and the command that ends it.

With it the quorum records your decision; that node saves its metadata again, and
is then filled from the one that serves.

Your name (from your certificate) and the reason are kept in the cluster's record.`

func (a *app) replicationResolve() *cobra.Command {
	request := &antlerv1.ResolveSplitBrainRequest{}

	cmd := &cobra.Command{
		Use:     "resolve --keep NODE [--discard NODE --reason WHY]",
		Short:   "Keep what one node has, and fill the other one from it",
		Long:    resolveHelp,
		Example: "  antlerctl replication resolve --keep n2      # what each side has, and how to go on\n  antlerctl replication resolve --keep n2 --discard n1 --reason \"n1 was down while n2 served\"",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.resolve(cmd, request)
		},
	}
	cmd.Flags().StringVar(&request.Keep, "keep", "", "the node whose replica stays as it is: the one that serves")
	cmd.Flags().StringVar(&request.Discard, "discard", "", "yes, give up what only this node has")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")

	_ = cmd.MarkFlagRequired("keep")

	return cmd
}

// resolve waits as long as it takes: a whole replica is read.
func (a *app) resolve(cmd *cobra.Command, request *antlerv1.ResolveSplitBrainRequest) error {
	ctx, cancel := a.deadline(cmd.Context(), 0)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.end()

	defer a.reassure("still reading the replica")()

	reply, err := antlerv1.NewClusterServiceClient(conn).ResolveSplitBrain(ctx, request)
	if err != nil {
		return err
	}

	return a.show(reply, func(w io.Writer) error { return showSplitBrain(w, reply) })
}

func showSplitBrain(w io.Writer, reply *antlerv1.ResolveSplitBrainResponse) error {
	keep, discard := reply.GetKeep().GetNode(), reply.GetDiscard().GetNode()

	if reply.GetRecorded() {
		_, err := fmt.Fprintf(w, "%s is filled from %s; what only it had is saved as %s. `antlerctl status` shows how far it is.\n", discard, keep, reply.GetSaved())

		return err
	}

	for _, side := range []*antlerv1.SplitBrainSide{reply.GetKeep(), reply.GetDiscard()} {
		fmt.Fprintf(w, "%s:\n  - %s\n\n", side.GetNode(), strings.Join(side.GetStory(), "\n  - "))
	}

	fmt.Fprintf(w, "Given up for good, but for the metadata, which is saved as %s:\n  - %s\n", reply.GetSaved(), strings.Join(reply.GetGivenUp(), "\n  - "))

	if at := reply.GetDiscard().GetTime(); at != nil {
		fmt.Fprintf(w, "\nThe last change on %s is of %s, by its clock.\n", discard, at.AsTime().UTC().Format(time.RFC3339))
	}

	_, err := fmt.Fprintf(w, "\nNo replica was changed. To go on:\n  antlerctl replication resolve --keep %s --discard %s --reason \"...\"\n", keep, discard)

	return err
}
