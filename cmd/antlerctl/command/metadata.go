package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	antlerv1 "antler/api/antler/v1"
	"antler/services/metadata/files"
)

func (a *app) metadataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "metadata",
		Short: "The last resort: what still holds metadata, a copy of it, and the way back",
		Long: `Look for metadata outside of the replicas, keep a copy of it elsewhere, and form
the cluster anew from such a copy when both replicas are gone.

A replica that is up to date is always better than a copy: look at ` + "`antlerctl status`" + `
first, and bring back what it says is missing.`,
		Example: `  antlerctl metadata sources                    # what there is, and how far it goes
  antlerctl metadata backup /backup/$(date +%F)
  antlerctl metadata restore n3/metalogger      # what it would lose, and how to go on`,
	}
	cmd.AddCommand(a.metadataSources(), a.metadataBackup(), a.metadataRestore())

	return cmd
}

func (a *app) metadataSources() *cobra.Command {
	return &cobra.Command{
		Use:   "sources",
		Short: "Every place that still holds metadata, how far it goes, what it lacks",
		Long: `Show every place on every node that holds metadata: replicas, metaloggers, and what
earlier restores put aside. VERSION counts changes since the file system was made;
LACKS is how many fewer it has than were served, as far as the quorum has recorded,
which it does every few seconds. NOTE says what else there is to know, and what is a
problem.

A replica is read only where it is mounted, which is where a master serves or has
failed to.`,
		Example: "  antlerctl metadata sources\n  antlerctl metadata sources -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reply, err := call(cmd.Context(), a, antlerv1.NewMetadataServiceClient, antlerv1.MetadataServiceClient.ListSources, &antlerv1.ListSourcesRequest{})
			if err != nil {
				return err
			}

			return a.show(reply, func(w io.Writer) error { return showSources(w, reply) })
		},
	}
}

func showSources(w io.Writer, reply *antlerv1.ListSourcesResponse) error {
	rows := [][]string{{"SOURCE", "VERSION", "LAST CHANGE", "LACKS", "NOTE"}}

	for _, s := range reply.GetSources() {
		row := []string{s.GetName(), "", "", "", s.GetNote()}

		if s.GetProblem() != "" {
			row[4] = "PROBLEM: " + s.GetProblem()
		}

		if s.GetVersion() > 0 {
			row[1] = fmt.Sprint(s.GetVersion())
		}

		if s.GetVersion() > 0 || s.GetCurrent() {
			row[3] = fmt.Sprint(s.GetLostChanges())
		}

		if s.Time != nil {
			row[2] = s.GetTime().AsTime().UTC().Format(time.RFC3339)
		}

		rows = append(rows, row)
	}

	err := table(w, rows)
	if err != nil {
		return err
	}

	for _, node := range reply.GetSilent() {
		fmt.Fprintf(w, "\n%s does not answer: it may hold more\n", node)
	}

	_, err = fmt.Fprintf(w, "\nserved up to version %d, as the quorum has recorded\n", reply.GetServedVersion())

	return err
}

func (a *app) metadataBackup() *cobra.Command {
	request := &antlerv1.FetchRequest{}

	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy all metadata into a new directory on this machine",
		Long: `Have the serving master save its metadata, copy it into the new directory DIR on
this machine, and check that it is whole. Service goes on. With --source it is a copy
of what that place holds, served or not.

DIR then holds what mfsmaster loads: metadata.mfs.back, and changelogs with what
came after it. It names every file of the file system: keep it from others' eyes.`,
		Example: "  antlerctl metadata backup /backup/$(date +%F)\n  antlerctl metadata backup /tmp/kept --source n3/metalogger",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.backup(cmd.Context(), given[0], request)
		},
	}
	cmd.Flags().StringVar(&request.Source, "source", "", "copy this `SOURCE` instead: antlerctl metadata sources lists them")

	return cmd
}

func (a *app) backup(ctx context.Context, dir string, request *antlerv1.FetchRequest) error {
	_, err := os.Lstat(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up to %s: it is there already: name a new directory", dir)
	}

	// A directory that is missing may be one to mount on. Whether what is there is
	// mounted, a person must know.
	parent := filepath.Dir(dir)
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return fmt.Errorf("back up to %s: there is no directory %s: make it, or mount what belongs there", dir, parent)
	}

	ctx, cancel := a.deadline(ctx, 0)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.end()

	stream, err := antlerv1.NewMetadataServiceClient(conn).Fetch(ctx, request)
	if err != nil {
		return err
	}

	defer a.reassure("still copying")()

	source, err := receive(dir, stream)
	if err != nil {
		return err
	}

	reply := &antlerv1.MetadataSource{Path: dir, Version: source.Version, MetadataId: source.ID, Problem: source.Problem}

	return a.show(reply, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s holds metadata %016X up to version %d\n", dir, source.ID, source.Version)

		return err
	})
}

// receive puts the files into dir, and leaves nothing half done there.
func receive(dir string, stream antlerv1.MetadataService_FetchClient) (source files.Source, err error) {
	// What it says first is whether it can.
	reply, err := stream.Recv()
	if err != nil {
		return source, err
	}

	stage, err := files.NewStage(dir)
	if err != nil {
		return source, err
	}

	for err == nil {
		err = stage.Add(reply.GetFile(), reply.GetData())
		if err == nil {
			reply, err = stream.Recv()
		}
	}

	source, closeErr := stage.Close()

	if errors.Is(err, io.EOF) {
		err = closeErr
	}

	if err != nil {
		return source, errors.Join(err, os.RemoveAll(dir))
	}

	return source, nil
}

const restoreHelp = `Form the cluster anew from a source, when no replica is left that could serve.

Without --lose-after nothing is changed but for a copy: the source is copied to the
node that is to serve and looked at there, and you are shown what would be lost and
the command that does it.

With it the quorum records your decision; the node makes a file system if its
replica is blank (never on one that holds anything), puts aside what metadata there
is, and serves from the copy. The other replica, if it is blank, is filled from it.
It is refused while anybody serves or may serve.

A new cluster goes on from what one that is gone has left, if it was told to wait for
that before its first start: metadata.awaitRestore in the cluster file.

Your name (from your certificate) and the reason are kept in the cluster's record.`

func (a *app) metadataRestore() *cobra.Command {
	request := &antlerv1.RestoreRequest{}

	cmd := &cobra.Command{
		Use:     "restore SOURCE [--lose-after VERSION --reason WHY]",
		Short:   "Form the cluster anew from a source: loses what came after it",
		Long:    restoreHelp,
		Example: "  antlerctl metadata restore n3/metalogger      # what it would lose, and how to go on\n  antlerctl metadata restore n3/metalogger --lose-after 81234 --reason \"both disks died\"",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Source = given[0]

			return a.restore(cmd.Context(), request)
		},
	}
	cmd.Flags().StringVar(&request.Target, "target", "", "the metadata node that shall serve (default: one whose replica runs)")
	cmd.Flags().Uint64Var(&request.LoseAfter, "lose-after", 0, "yes, lose every change after this version (as shown without it)")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")

	return cmd
}

func (a *app) restore(ctx context.Context, request *antlerv1.RestoreRequest) error {
	ctx, cancel := a.deadline(ctx, moveWait)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.end()

	stream, err := antlerv1.NewMetadataServiceClient(conn).Restore(ctx, request)
	if err != nil {
		return err
	}

	defer a.reassure("still restoring")()

	begun, err := a.followRestore(stream.Recv)

	return restoreEnded(err, request, begun)
}

// restoreEnded: without a person's decision there is nothing that could go on.
func restoreEnded(err error, request *antlerv1.RestoreRequest, begun bool) error {
	if err == nil || request.GetLoseAfter() == 0 {
		return err
	}

	return goesOn(err, "the restore", begun)
}

// followRestore shows the plan, or the progress, and says whether it has begun.
func (a *app) followRestore(next func() (*antlerv1.RestoreResponse, error)) (begun bool, err error) {
	for {
		reply, err := next()
		if errors.Is(err, io.EOF) {
			return begun, errors.New("the node ended the call before the restore was done: look at `antlerctl status`")
		}

		if err != nil {
			return begun, err
		}

		if plan := reply.GetPlan(); plan != nil {
			return begun, a.show(plan, func(w io.Writer) error { return showPlan(w, plan) })
		}

		begun = true

		err = a.showItem(reply.GetProgress(), func(w io.Writer) error { return showProgress(w, reply.GetProgress()) })
		if err != nil || reply.GetProgress().GetDone() {
			return begun, err
		}
	}
}

func showPlan(w io.Writer, plan *antlerv1.RestorePlan) error {
	source := plan.GetSource()

	served := fmt.Sprintf("version %d was served", plan.GetServedVersion())
	if plan.GetServedVersion() == 0 {
		served = "this cluster has served nothing yet"
	}

	fmt.Fprintf(w, "%s reaches version %d; %s. %s would serve from it.\n", source.GetName(), source.GetVersion(), served, plan.GetTarget())

	for _, part := range []struct {
		title string
		lines []string
	}{{"Given up for good", plan.GetGivenUp()}, {"Look at these first", plan.GetBetter()}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(w, "\n%s:\n  - %s\n", part.title, strings.Join(part.lines, "\n  - "))
		}
	}

	_, err := fmt.Fprintf(w, "\nNothing was changed. To go on:\n  antlerctl metadata restore %s --target %s --lose-after %d --reason \"...\"\n",
		source.GetName(), plan.GetTarget(), source.GetVersion())

	return err
}
