package command

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
)

// stream shows what a call sends, one item after the other, until it ends. With
// follow it has no deadline: Ctrl-C ends it.
func stream[T proto.Message, S interface{ Recv() (T, error) }](
	a *app, cmd *cobra.Command, follow bool,
	call func(context.Context, *session) (S, error), line func(io.Writer, T) error,
) error {
	wait := callWait
	if follow {
		wait = 0
	}

	ctx, cancel := a.deadline(cmd.Context(), wait)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.end()

	items, err := call(ctx, conn)
	if err != nil {
		return err
	}

	for {
		item, err := items.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		err = a.showItem(item, func(w io.Writer) error { return line(w, item) })
		if err != nil {
			return err
		}
	}
}
