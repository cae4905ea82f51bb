package command

import (
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) volumeAdopt() *cobra.Command {
	request := &antlerv1.VolumeServiceAdoptRequest{}

	var (
		size  sizeFlag
		trash time.Duration
	)

	cmd := &cobra.Command{
		Use:   "adopt NAME --from PATH",
		Short: "Make a directory that is in MooseFS a volume, with what is in it",
		Long: `Make a directory that is elsewhere in the same MooseFS a volume: one that another
provisioner has made, for example. It is moved, not copied, so first end what uses it
under its old path. PATH begins at the root of MooseFS, not at that of a node, and has
no ".." or links in it.

Owners and modes stay. What is already in it keeps its copies and its trash time until
you change them there ("mfssetsclass -r").

If it is interrupted nothing is lost: do it again.`,
		Example: "  antlerctl volume adopt photos --from /pvc-0815 --size 200GiB\n  antlerctl volume adopt photos --from /exports/shop-photos-pvc-0815",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Name, request.SizeBytes = given[0], uint64(size)

			if cmd.Flags().Changed("trash-time") {
				request.TrashTime = durationpb.New(trash)
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Adopt, request)
			if err != nil {
				return err
			}

			return a.showChanged(reply)
		},
	}
	cmd.Flags().StringVar(&request.From, "from", "", "the directory's path below the root of MooseFS")
	cmd.Flags().Var(&size, "size", "the most that it may hold, not less than it does: "+sizeHelp+" (default: the quota that it has)")
	cmd.Flags().Uint64Var(&request.InodeLimit, "inodes", 0, "the most files and directories that it may hold (default: the quota that it has, or any number)")
	cmd.Flags().Uint32Var(&request.Copies, "copies", 0, "copies of what is written from now on, 1 to 9 (default: the cluster's)")
	cmd.Flags().StringVar(&request.StorageClass, "storage-class", "", "a storage class of MooseFS, instead of --copies")
	cmd.Flags().DurationVar(&trash, "trash-time", 0, "how long files that are made from now on can be had back once deleted (default: the cluster's)")
	_ = cmd.MarkFlagRequired("from")

	return cmd
}
