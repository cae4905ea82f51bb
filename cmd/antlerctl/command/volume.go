package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "volume",
		Aliases: []string{"volumes", "vol"},
		Short:   "Create, adopt, list, resize, delete, undelete and release volumes",
		Long: `A volume is a directory on MooseFS with a size that it can't outgrow, a number of
copies of all its data, and a time for which deleted files can be had back. Each
node that has MooseFS mounted shows its files below /var/lib/antler/mnt/volumes.`,
		Example: `  antlerctl volume create photos --size 200GiB
  antlerctl volume list
  antlerctl volume expand photos --size 400GiB
  antlerctl volume delete photos                # it can be had back for 7 days
  antlerctl volume undelete photos`,
	}
	cmd.AddCommand(a.volumeCreate(), a.volumeAdopt(), a.volumeGet(), a.volumeList(), a.volumeExpand(), a.volumeDelete(), a.volumeUndelete(), a.volumeRelease())

	return cmd
}

func (a *app) volumeCreate() *cobra.Command {
	request := &antlerv1.VolumeServiceCreateRequest{}

	var (
		size  sizeFlag
		trash time.Duration
	)

	cmd := &cobra.Command{
		Use:   "create NAME --size SIZE",
		Short: "Create a volume; doing it again changes nothing",
		Long: `Create a volume. A write that would make it larger than its size fails (EDQUOT), and
with --inodes so does making more files and directories than that.
The copies are kept on as many chunkservers: with more than there are it is created
all the same, with a warning, and so is one that is larger than what is free.

With a name that exists and the same settings it succeeds and changes nothing; with
others it is refused.`,
		Example: "  antlerctl volume create photos --size 200GiB\n  antlerctl volume create scratch --size 1TiB --copies 1 --trash-time 0s",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Name, request.SizeBytes = given[0], uint64(size)

			if cmd.Flags().Changed("trash-time") {
				request.TrashTime = durationpb.New(trash)
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Create, request)
			if err != nil {
				return err
			}

			return a.showChanged(reply)
		},
	}
	cmd.Flags().Var(&size, "size", "the most that it may hold: "+sizeHelp)
	cmd.Flags().Uint64Var(&request.InodeLimit, "inodes", 0, "the most files and directories that it may hold (default: any number)")
	cmd.Flags().Uint32Var(&request.Copies, "copies", 0, "copies of all data, 1 to 9 (default: the cluster's)")
	cmd.Flags().StringVar(&request.StorageClass, "storage-class", "", "a storage class of MooseFS, instead of --copies")
	cmd.Flags().DurationVar(&trash, "trash-time", 0, "how long deleted files can be had back (default: the cluster's)")
	_ = cmd.MarkFlagRequired("size")

	return cmd
}

// changed is the answer to what has made or changed a volume.
type changed interface {
	proto.Message
	GetVolume() *antlerv1.Volume
	GetWarnings() []string
}

// showChanged warns a person; a program finds the warnings in the answer.
func (a *app) showChanged(reply changed) error {
	for _, warning := range reply.GetWarnings() {
		a.note("warning: %s", warning)
	}

	return a.show(reply, func(w io.Writer) error { return showVolumes(w, reply.GetVolume()) })
}

func (a *app) volumeGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME",
		Short:   "Show one volume",
		Example: "  antlerctl volume get photos\n  antlerctl volume get photos -o json | jq -r .volume.path",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Get,
				&antlerv1.VolumeServiceGetRequest{Name: given[0]})
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showVolumes(w, reply.GetVolume()) })
		},
	}
}

func (a *app) volumeList() *cobra.Command {
	var archived bool

	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List volumes, or with --archived those that can be brought back",
		Example: "  antlerctl volume list\n  antlerctl volume list --archived",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if archived {
				return a.listArchived(cmd)
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.List, &antlerv1.VolumeServiceListRequest{})
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showVolumes(w, reply.GetVolumes()...) })
		},
	}
	cmd.Flags().BoolVar(&archived, "archived", false, "list deleted volumes")

	return cmd
}

func (a *app) listArchived(cmd *cobra.Command) error {
	reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.ListArchived, &antlerv1.VolumeServiceListArchivedRequest{})
	if err != nil {
		return err
	}

	return a.show(reply, func(w io.Writer) error { return showArchived(w, reply.GetArchived()...) })
}

func (a *app) volumeExpand() *cobra.Command {
	var size sizeFlag

	cmd := &cobra.Command{
		Use:   "expand NAME --size SIZE",
		Short: "Make a volume larger",
		Long: `Set the size that a volume can't outgrow. It can't be made smaller: create another
one, and copy.`,
		Example: "  antlerctl volume expand photos --size 400GiB      # the new size, not what is added",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Expand,
				&antlerv1.VolumeServiceExpandRequest{Name: given[0], SizeBytes: uint64(size)})
			if err != nil {
				return err
			}

			return a.showChanged(reply)
		},
	}
	cmd.Flags().Var(&size, "size", "the most that it may hold: "+sizeHelp)
	_ = cmd.MarkFlagRequired("size")

	return cmd
}

func (a *app) volumeDelete() *cobra.Command {
	var keep time.Duration

	cmd := &cobra.Command{
		Use:     "delete NAME",
		Aliases: []string{"rm"},
		Short:   "Delete a volume; it can be brought back for a while",
		Long: `Take a volume away, with all its files, into an archive from which "antlerctl volume
undelete" brings it back. Its space is free when its time there is over.`,
		Example: "  antlerctl volume delete photos\n  antlerctl volume delete photos --keep-for 720h",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request := &antlerv1.VolumeServiceDeleteRequest{Name: given[0]}
			if cmd.Flags().Changed("keep-for") {
				request.KeepFor = durationpb.New(keep)
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Delete, request)
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is deleted; until %s, `antlerctl volume undelete %s` brings it back\n",
					given[0], reply.GetArchived().GetExpires().AsTime().Format(time.RFC3339), given[0])

				return err
			})
		},
	}
	cmd.Flags().DurationVar(&keep, "keep-for", 0, "how long it can be brought back (default 168h)")

	return cmd
}

func (a *app) volumeUndelete() *cobra.Command {
	request := &antlerv1.VolumeServiceUndeleteRequest{}

	cmd := &cobra.Command{
		Use:   "undelete NAME",
		Short: "Bring a deleted volume back",
		Long: `Bring a deleted volume back, under its old name. Of several of that name it is the
one that was deleted last; "antlerctl volume list --archived" shows them all, with
the ids for --archive-id and until when each can be had back.`,
		Example: "  antlerctl volume undelete photos\n  antlerctl volume list --archived\n  antlerctl volume undelete photos --archive-id ARCHIVE-ID",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Name = given[0]

			reply, err := call(cmd.Context(), a, antlerv1.NewVolumeServiceClient, antlerv1.VolumeServiceClient.Undelete, request)
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showVolumes(w, reply.GetVolume()) })
		},
	}
	cmd.Flags().StringVar(&request.ArchiveId, "archive-id", "", "which one, of several of that name: antlerctl volume list --archived shows them (default: the last deleted)")

	return cmd
}

func showVolumes(w io.Writer, volumes ...*antlerv1.Volume) error {
	rows := [][]string{{"NAME", "SIZE", "USED", "USE%", "INODES", "CLASS", "TRASH", "CREATED", "PATH"}}

	for _, v := range volumes {
		percent := "0%"
		if v.GetSizeBytes() > 0 {
			percent = fmt.Sprintf("%.0f%%", 100*float64(v.GetUsedBytes())/float64(v.GetSizeBytes()))
		}

		rows = append(rows, []string{
			v.GetName(), formatSize(v.GetSizeBytes()), formatSize(v.GetUsedBytes()), percent,
			formatInodes(v), v.GetStorageClass(), v.GetTrashTime().AsDuration().String(), v.GetCreated().AsTime().Format(time.DateOnly), v.GetPath(),
		})
	}

	return table(w, rows)
}

// formatInodes returns how many there are, and of how many if that is limited.
func formatInodes(v *antlerv1.Volume) string {
	if v.GetInodeLimit() == 0 {
		return fmt.Sprint(v.GetUsedInodes())
	}

	return fmt.Sprintf("%d/%d", v.GetUsedInodes(), v.GetInodeLimit())
}

func showArchived(w io.Writer, archived ...*antlerv1.ArchivedVolume) error {
	rows := [][]string{{"NAME", "SIZE", "DELETED", "EXPIRES", "ARCHIVE-ID"}}

	for _, one := range archived {
		rows = append(rows, []string{
			one.GetVolume().GetName(), formatSize(one.GetVolume().GetSizeBytes()),
			one.GetDeleted().AsTime().Format(time.RFC3339), one.GetExpires().AsTime().Format(time.RFC3339), one.GetArchiveId(),
		})
	}

	return table(w, rows)
}
