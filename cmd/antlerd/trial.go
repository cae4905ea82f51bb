package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	antlerv1 "antler/api/antler/v1"
	"antler/image/slots"
	"antler/services/node/config"
	"antler/services/node/upgrade"
)

func hostUpgrade() *upgrade.Host {
	return &upgrade.Host{Card: upgrade.NewHostCard(config.RunDir), Paths: upgrade.HostPaths(config.RunDir, config.StateDir)}
}

func trialCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "trial",
		Short: "Decide whether the system that was started on trial is to stay (the appliance image does so at boot)",
		Long: `Decide whether the system that was started on trial is to stay: it is committed
when the cluster finds this node healthy, and given up, with a restart of the
machine, when that takes too long. It is a process of its own, so that it judges
antlerd by its answers.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host := hostUpgrade()

			started, err := host.Paths.Started()
			if err != nil {
				return err
			}

			if !started.Trial {
				return errors.New("the system that runs is not on trial")
			}

			verdict := judge(cmd.Context(), host.Paths, load)

			stopped := cmd.Context().Err()
			if stopped != nil {
				return fmt.Errorf("nothing was decided on slot %s, and the old system comes back: %w", started.Slot, stopped)
			}

			fmt.Fprintf(cmd.ErrOrStderr(), "antlerd: the system in slot %s: %s\n", started.Slot, verdictText(verdict))

			return host.Settle(verdict, endGuard)
		},
	}
}

func verdictText(verdict error) string {
	if verdict == nil {
		return "healthy, it stays"
	}

	return verdict.Error()
}

func judge(ctx context.Context, paths upgrade.Paths, load func() (*config.Config, error)) error {
	cfg, err := load()
	if err != nil {
		return fmt.Errorf("the new system does not take this node's configuration: %w", err)
	}

	conn, err := grpc.NewClient("unix://"+config.APISocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()

	trial := upgrade.Trial{
		Node: cfg.Node.Name,
		Status: func(ctx context.Context) (*antlerv1.ClusterStatus, error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()

			reply, err := antlerv1.NewClusterServiceClient(conn).GetStatus(ctx, &antlerv1.GetStatusRequest{})

			return reply.GetCluster(), err
		},
		Tell:  func(missing string) { _ = os.WriteFile(paths.Missing, []byte(missing), 0o644) },
		Now:   time.Now,
		Sleep: sleep,
	}

	return trial.Run(ctx)
}

// endGuard ends what would reset the machine.
func endGuard() error {
	text, err := os.ReadFile(slots.GuardFile)
	if err != nil {
		return fmt.Errorf("end the guard of the trial: %w", err)
	}

	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("end the guard of the trial: %w", err)
	}

	return errors.Join(syscall.Kill(pid, syscall.SIGKILL), os.Remove(slots.GuardFile))
}
