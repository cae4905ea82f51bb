package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"antler/services/node"
	"antler/services/node/config"
	"antler/services/talos"
)

func talosCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "talos",
		Short: "Start the daemon in a container of its own and follow it (Talos runs that as the extension's service)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadOrWait(cmd.Context(), load)
			if err != nil {
				return err
			}

			logger, err := newLogger()
			if err != nil {
				return err
			}

			err = talosCheck(logger).Run(cmd.Context(), cfg)
			if err != nil {
				return fmt.Errorf("this node stays as it is until that is mended: %w", err)
			}

			return talosService(cfg, logger).Run(cmd.Context())
		},
	}
}

// talosCheck is done here, since machined answers this process and not antlerd's.
func talosCheck(logger *zap.Logger) talos.Check {
	return talos.Check{
		Machine: talos.Machine{Socket: talos.MachineSocket}, Path: talos.TakenPath, Logger: logger,
		Patience: talos.Patience, Interval: talos.LookInterval, LookTime: talos.LookTime,
	}
}

func talosService(cfg *config.Config, logger *zap.Logger) *talos.Service {
	kubelet := ""
	if cfg.Cluster.Kubernetes.Enabled {
		kubelet = cfg.Cluster.Kubernetes.Kubelet()
	}

	return &talos.Service{
		Node: &talos.Containerd{
			Socket: config.ContainerdSocket, Config: config.DefaultPath, Kubelet: kubelet, Out: os.Stdout,
			Args: []string{"/usr/bin/antlerd", "run", "--config", config.DefaultPath, "--platform", onTalos},
		},
		Logger: logger, GoesDown: func(ctx context.Context) bool { return tellOfTheEnd(ctx, logger) },
		AskTime: talos.AskTime, StopTime: talos.StopTime, RemoveTime: talos.RemoveTime, RetryInterval: talos.RetryInterval,
	}
}

// tellOfTheEnd tells antlerd if the whole machine goes down, so that it hands over
// what it serves, and reports whether it did. Where that isn't known what serves goes
// on.
func tellOfTheEnd(ctx context.Context, logger *zap.Logger) bool {
	goesDown, err := talos.Machine{Socket: talos.MachineSocket}.GoesDown(ctx)
	if err == nil && goesDown {
		err = node.SayGoesDown(config.RunDir)
	}

	if err != nil {
		logger.Warn("whether the node goes down is not known, or antlerd can't be told", zap.Error(err))
	}

	return err == nil && goesDown
}
