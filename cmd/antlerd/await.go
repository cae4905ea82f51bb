package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"antler/services/moosefs"
	"antler/services/node/config"
)

const (
	// awaitPoll is how often the mount is looked at, awaitAnswer how long it gets
	// to answer.
	awaitPoll   = time.Second
	awaitAnswer = 2 * time.Second
)

func awaitMountCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "await-mount",
		Short: "Wait until MooseFS is mounted on this node and answers (the appliance image does so before it starts k3s)",
		Long: `Wait until MooseFS is mounted at ` + config.MountPath + ` and answers, however long that
takes. On a node without the role client there is nothing to wait for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}

			if !cfg.Self().Has(config.RoleClient) {
				return nil
			}

			return awaitMount(cmd.Context(), &moosefs.HostMounts{}, cmd.ErrOrStderr(), sleep)
		},
	}
}

// awaitMount tells what it waits for once, and again when that is another thing.
func awaitMount(ctx context.Context, mounts moosefs.MountProber, log io.Writer, sleep func(context.Context, time.Duration) error) error {
	told := ""

	for {
		missing := mountMissing(ctx, mounts)
		if missing == "" {
			return nil
		}

		if missing != told {
			fmt.Fprintf(log, "antlerd: waiting: %s\n", missing)
			told = missing
		}

		err := sleep(ctx, awaitPoll)
		if err != nil {
			return fmt.Errorf("%s: %w", missing, err)
		}
	}
}

func mountMissing(ctx context.Context, mounts moosefs.MountProber) string {
	ctx, cancel := context.WithTimeout(ctx, awaitAnswer)
	defer cancel()

	mounted, err := mounts.Probe(ctx, config.MountPath)

	switch {
	case err != nil:
		return err.Error()
	case !mounted:
		return "MooseFS is not mounted at " + config.MountPath + " yet"
	}

	return ""
}

// sleep unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
