package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	antlerv1 "antler/api/antler/v1"
)

const releaseHelp = `End the use of a volume by a node that is away for good, so that pods on other nodes
may have it.

A volume that one node alone may use stays with that node while it is away: its pods
may still write to it, whether the cluster hears of the node or not, and two writers
destroy each other's files. So first make sure that the node has no power, or was
reset: go there, or switch its socket off. Nobody else can know that.

Without --yes nothing is changed: it shows what would be released, and the command
that does it. It is refused for a node that was heard of a moment ago; --force is for
when that is a mistake. Where nobody uses the volume from that node it changes nothing.

When the node is back its pods ask for the volume anew, and wait while another node has
it. Kubernetes does not end the pods of a StatefulSet there by itself. To have all this
done by the cluster set cluster.kubernetes.deadNode in the cluster file.`

const releaseExample = `  antlerctl volume release photos --node n2           # what would be released, and how to go on
  antlerctl volume release photos --node n2 --yes     # n2 has no power
  antlerctl volume list -o json | jq -r '.volumes[] | select(any(.uses[]; .node == "n2")).name'`

func (a *app) volumeRelease() *cobra.Command {
	request := &antlerv1.VolumeServiceReleaseRequest{}

	cmd := &cobra.Command{
		Use:     "release NAME --node NODE [--yes]",
		Short:   "Take a volume from a node that is away for good",
		Long:    releaseHelp,
		Example: releaseExample,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Name = given[0]

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Release, request)
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showRelease(w, request, reply) })
		},
	}
	// Not the node that is asked, as elsewhere: that one doesn't answer.
	cmd.Flags().StringVarP(&request.Node, "node", "n", "", "the node that is away for good")
	cmd.Flags().BoolVar(&request.Confirm, "yes", false, "yes, it is without power or was reset")
	cmd.Flags().BoolVar(&request.Force, "force", false, "also if it was heard of a moment ago")
	_ = cmd.MarkFlagRequired("node")
	_ = cmd.RegisterFlagCompletionFunc("node", a.completeNodes)

	return cmd
}

func showRelease(w io.Writer, request *antlerv1.VolumeServiceReleaseRequest, reply *antlerv1.VolumeServiceReleaseResponse) error {
	name, node := request.GetName(), request.GetNode()

	switch {
	case reply.GetUse() == nil:
		fmt.Fprintf(w, "%s doesn't use %s: there is nothing to release\n", node, name)
	case reply.GetDone():
		fmt.Fprintf(w, "%s is released from %s\n", name, node)
	default:
		fmt.Fprintf(w, "%s is used by %s.\n", name, useLine(reply.GetUse()))

		if heard := reply.GetLastHeard(); heard != nil {
			fmt.Fprintf(w, "%s was last heard of at %s.\n", node, heard.AsTime().Format(time.RFC3339))
		}
	}

	for _, other := range reply.GetOthers() {
		fmt.Fprintf(w, "It stays with %s.\n", useLine(other))
	}

	if reply.GetDone() {
		return nil
	}

	command := fmt.Sprintf("antlerctl volume release %s --node %s --yes", name, node)
	if request.GetForce() {
		command += " --force"
	}

	_, err := fmt.Fprintf(w, `
Once it is released another node may write to it at once, and %s may go on writing for as
long as it runs: together they destroy files. See first that %s has no power, or was reset.

Nothing was changed. To go on:
  %s
`, node, node, command)

	return err
}

// useLine is a use in words.
func useLine(use *antlerv1.VolumeUse) string {
	words := []string{use.GetNode()}
	if use.GetAlone() {
		words = append(words, "alone")
	}

	if use.GetReadOnly() {
		words = append(words, "for reading")
	}

	return strings.Join(append(words, "since", use.GetSince().AsTime().Format(time.RFC3339)), " ")
}
