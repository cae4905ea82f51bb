package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

func (a *app) eventsCommand() *cobra.Command {
	var (
		follow bool
		since  string
		tail   uint32
	)

	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened on all nodes, in order; -f: and what happens",
		Long: `Show the events that the nodes have kept (2,000 each, since antlerd's start there),
in the order of the nodes' clocks. With --node, those of one node.

With -o json each event is one line.`,
		Example: "  antlerctl events --since 10m\n  antlerctl events -f --tail 5\n  antlerctl events -n n2 -o json | jq 'select(.event.kind == \"authority.granted\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := &antlerv1.WatchEventsRequest{Tail: tail, Follow: follow, Local: a.node != ""}

			if since != "" {
				at, err := a.parseSince(since)
				if err != nil {
					return err
				}

				request.Since = timestamppb.New(at)
			}

			return a.watchEvents(cmd, request)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	cmd.Flags().StringVar(&since, "since", "", "leave out what is older: a time (2026-01-02T15:04:05Z) or a span (10m)")
	cmd.Flags().Uint32Var(&tail, "tail", 0, "leave out all but the last so many past events (0: none)")

	return cmd
}

func (a *app) parseSince(text string) (time.Time, error) {
	ago, err := time.ParseDuration(text)
	if err == nil {
		return a.Now().Add(-ago), nil
	}

	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usageError{fmt.Errorf("--since %s: write a time such as 2026-01-02T15:04:05Z, or a span such as 10m", text)}
	}

	return at, nil
}

func (a *app) watchEvents(cmd *cobra.Command, request *antlerv1.WatchEventsRequest) error {
	call := func(ctx context.Context, conn *session) (antlerv1.ClusterService_WatchEventsClient, error) {
		return antlerv1.NewClusterServiceClient(conn).WatchEvents(ctx, request)
	}

	return stream(a, cmd, request.Follow, call, func(w io.Writer, reply *antlerv1.WatchEventsResponse) error {
		event := reply.GetEvent()
		_, err := fmt.Fprintf(w, "%s  %s\n", event.GetTime().AsTime().Format("2006-01-02 15:04:05.000"), eventLine(event))

		return err
	})
}

// eventLine is an event without its time.
func eventLine(event *antlerv1.Event) string {
	epoch := "-"
	if event.GetEpoch() > 0 {
		epoch = fmt.Sprint(event.GetEpoch())
	}

	return fmt.Sprintf("%-6s %-28s %3s  %s", event.GetNode(), event.GetKind(), epoch, event.GetMessage())
}
