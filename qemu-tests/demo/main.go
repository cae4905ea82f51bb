// Command demo shows what Antler is for: `demo up` boots three nodes of the
// image in QEMU, cuts the power of the serving one under a writing client, and
// leaves the cluster up; `demo down` ends it.
//
// The machines and the switch between them belong to a process in the
// background (`demo serve`), which outlives `demo up`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const (
	build = "build"
	dir   = build + "/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: demo up | down")
	}

	switch args[0] {
	case "up":
		return up(ctx)
	case "down":
		return down()
	case "serve":
		return serve(ctx)
	}

	return fmt.Errorf("unknown command %q: demo up | down", args[0])
}

func path(name string) string { return filepath.Join(dir, name) }
