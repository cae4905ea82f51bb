package command

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
)

// patience is how long a person waits before asking whether it hangs.
const patience = 2 * time.Second

// call connects, makes one call and returns its answer. When that takes long it
// says so.
func call[C, Request, Reply any](ctx context.Context, a *app, client func(grpc.ClientConnInterface) C,
	method func(C, context.Context, Request, ...grpc.CallOption) (Reply, error), request Request,
) (Reply, error) {
	var none Reply

	ctx, cancel := a.deadline(ctx, callWait)
	defer cancel()

	defer a.reassure("waiting for an answer")()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return none, err
	}
	defer conn.end()

	return method(client(conn), ctx, request)
}

// note tells a person what goes on. A program is told of errors only.
func (a *app) note(format string, args ...any) {
	if a.output == formatTable {
		_, _ = fmt.Fprintf(a.Err, format+"\n", args...)
	}
}

// reassure says every two seconds that it is still being waited, until the
// function it returns is called.
func (a *app) reassure(doing string) (stop func()) {
	began := a.Now()
	ended, done := make(chan struct{}), make(chan struct{})

	go func() {
		defer close(done)

		ticker := time.NewTicker(patience)
		defer ticker.Stop()

		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				a.note("%s (%s)", doing, a.Now().Sub(began).Round(time.Second))
			}
		}
	}()

	return func() {
		close(ended)
		<-done
	}
}
