package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
)

// moveWait is the default of --timeout for what moves the master, and switchoverWait for
// what may have to wait until the replicas are compared.
const (
	moveWait       = 2 * time.Minute
	switchoverWait = 20 * time.Minute
)

func (a *app) switchoverCommand() *cobra.Command {
	request := &antlerv1.SwitchoverRequest{}

	cmd := &cobra.Command{
		Use:   "switchover [NODE]",
		Short: "Move the master in good order, to NODE or the other metadata node",
		Long: `Move the master to another metadata node: it saves and stops first, and clients
wait a moment. It is refused if that node does not hold every acknowledged write.
Nothing can be lost by it without --now.

Each time that the two replicas were connected they are compared, since a disk may forget
in a power cut what it said it had written. A switchover waits for that: 30 s, and what it
takes to read a whole replica. --now doesn't; what such a disk forgot may then be lost for
good, as the other replica is made like the one that serves when they lose each other.

Once the other node serves it waits until the chunkservers have come back to it and
"antlerctl status" shows no problem that was not there before, or says what is still
missing. With -o json the last line is {"whole": true, "remaining": [], "before": []}:
what is missing, and what was wrong before and still is.

A move that has begun goes on if --timeout ends this, or Ctrl-C: "antlerctl events -f"
shows it. Before the first line of progress, other than what it waits for, it may not have
begun.`,
		Example: "  antlerctl switchover        # to the other one\n  antlerctl switchover n1     # back to n1; done at once if it serves already\n  antlerctl switchover --now  # don't wait until the replicas are compared",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) > 0 {
				request.Target = given[0]
			}

			return a.follow(cmd.Context(), "the switchover", switchoverWait, func(ctx context.Context, conn *session) (func() (*antlerv1.Progress, error), error) {
				stream, err := antlerv1.NewClusterServiceClient(conn).Switchover(ctx, request)

				return progressOf(stream), err
			})
		},
	}
	cmd.Flags().BoolVar(&request.Now, "now", false, "don't wait until the replicas are compared")

	return cmd
}

func (a *app) failoverCommand() *cobra.Command {
	request := &antlerv1.FailoverRequest{}

	cmd := &cobra.Command{
		Use:   "failover NODE --force --reason WHY",
		Short: "Let NODE serve although the cluster itself must not: can lose data",
		Long: `Grant the authority to NODE by your word.

The cluster fails over by itself whenever that loses nothing. This is for when it
does not: when the only replica with the latest writes is lost for good. Writes
that were acknowledged and that only the other replica has are given up. It is
refused while another node may still serve.

Metadata that is older than what the cluster has served is not started by this: where
NODE has no other, you are told so, and with which command to go on.

Your name (from your certificate) and the reason are kept in the cluster's record.`,
		Example: "  antlerctl failover n2 --force --reason \"n1 burnt down\"",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Target = given[0]

			return a.follow(cmd.Context(), "the failover", moveWait, func(ctx context.Context, conn *session) (func() (*antlerv1.Progress, error), error) {
				stream, err := antlerv1.NewClusterServiceClient(conn).Failover(ctx, request)

				return progressOf(stream), err
			})
		},
	}
	cmd.Flags().BoolVar(&request.Force, "force", false, "yes, give up what only the other replica has")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why, for the record")

	return cmd
}

// progressOf makes one of the two streams that tell a move's progress.
func progressOf[T interface{ GetProgress() *antlerv1.Progress }, S interface{ Recv() (T, error) }](stream S) func() (*antlerv1.Progress, error) {
	return func() (*antlerv1.Progress, error) {
		reply, err := stream.Recv()
		if err != nil {
			return nil, err
		}

		return reply.GetProgress(), nil
	}
}

// follow shows the progress of a move until it is done, and the cluster whole again.
func (a *app) follow(ctx context.Context, what string, wait time.Duration, begin func(context.Context, *session) (func() (*antlerv1.Progress, error), error)) error {
	ctx, cancel := a.deadline(ctx, wait)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.end()

	s := &settling{app: a, client: antlerv1.NewClusterServiceClient(conn), began: a.Now()}
	s.rememberProblems(ctx)

	next, err := begin(ctx, conn)
	if err != nil {
		return err
	}

	stop := sync.OnceFunc(a.reassure("not done yet"))
	defer stop()

	begun, err := a.followProgress(next)
	if err != nil {
		return goesOn(err, what, begun)
	}

	stop()

	return s.wait(ctx)
}

// followProgress also says whether the move has begun: a node tells of progress, but for
// what it waits for, only once the quorum has accepted it.
func (a *app) followProgress(next func() (*antlerv1.Progress, error)) (begun bool, err error) {
	for {
		progress, err := next()
		if errors.Is(err, io.EOF) {
			return begun, errors.New("the node ended the call before the move was done: look at `antlerctl status`")
		}

		if err != nil {
			return begun, err
		}

		begun = begun || progress.GetWaiting() == ""

		err = a.showItem(progress, func(w io.Writer) error { return showProgress(w, progress) })
		if err != nil || progress.GetDone() {
			return begun, err
		}
	}
}

// goesOn is what a person is told whose --timeout has ended the wait, and nothing
// else. Any other error stays as it is, and so does what a node has to say of it.
func goesOn(err error, what string, begun bool) error {
	if given := status.Convert(err); given.Code() != codes.DeadlineExceeded || len(given.Details()) > 0 {
		return err
	}

	text, reason := what+" was not done in time, and goes on without antlerctl", "NOT_YET"
	if !begun {
		text, reason = "no word of "+what+" came in time: it may not have begun", "NOT_BEGUN_YET"
	}

	answer := status.New(codes.DeadlineExceeded, text)

	detailed, detailErr := answer.WithDetails(
		&errdetails.ErrorInfo{Reason: reason, Domain: "antler"},
		&errdetails.Help{Links: []*errdetails.Help_Link{
			{Description: "watch it with `antlerctl events -f`; `antlerctl status` says who serves"},
			{Description: "--timeout gives antlerctl longer to wait for it"},
		}})
	if detailErr != nil {
		return err
	}

	return detailed.Err()
}

func showProgress(w io.Writer, progress *antlerv1.Progress) error {
	elapsed := progress.GetElapsed().AsDuration().Seconds()

	if progress.GetDone() {
		_, err := fmt.Fprintf(w, "%s serves in epoch %d, after %.1f s\n", progress.GetNode(), progress.GetEpoch(), elapsed)

		return err
	}

	if waiting := progress.GetWaiting(); waiting != "" {
		_, err := fmt.Fprintf(w, "%6.2f s  waiting: %s\n", elapsed, waiting)

		return err
	}

	_, err := fmt.Fprintf(w, "%6.2f s  %s\n", elapsed, eventLine(progress.GetEvent()))

	return err
}
