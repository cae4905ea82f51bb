// Command antlerctl is for the people who run a cluster. `antlerctl --help`
// says what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"antler/cmd/antlerctl/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)

	code := command.Execute(ctx, command.Environment{
		Out:    os.Stdout,
		Err:    os.Stderr,
		Getenv: os.Getenv,
		Now:    time.Now,
	}, os.Args[1:])

	stop()
	os.Exit(code)
}
