// Command antlerd supervises one node of an Antler cluster: `antlerd run` is
// the daemon, `antlerd prepare` configures the appliance's network at boot, and
// `antlerd trial` decides whether a new system stays.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/siderolabs/go-procfs/procfs"
	"github.com/spf13/cobra"

	"antler/services/node/config"
	"antler/services/node/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	err := command().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "antlerd:", err)
		os.Exit(exitCode(err))
	}
}

// exitConfig is EX_CONFIG of sysexits.h.
const exitConfig = 78

// secondThoughts is how long the daemon waits before it ends because of its
// configuration: it is started again at once, and until somebody mends the file,
// or the clock that makes a certificate look expired is set, the outcome is the
// same.
const secondThoughts = 10 * time.Second

func exitCode(err error) int {
	var problems config.Problems
	if errors.As(err, &problems) {
		return exitConfig
	}

	return 1
}

func command() *cobra.Command {
	var configPath string

	root := &cobra.Command{
		Use:           "antlerd",
		Short:         "Antler's supervisor: a highly available MooseFS master, chunkserver and mounts on this node",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&configPath, "config", "",
		"configuration file (default "+config.DefaultPath+"; "+config.KernelParameter+"= on the kernel command line wins)")

	load := func() (*config.Config, error) {
		return config.LoadFile(config.Path(configPath, procfs.ProcCmdline()), time.Now())
	}

	root.AddCommand(validateCommand(load), runCommand(load), prepareCommand(&configPath, load), trialCommand(load), talosCommand(load),
		awaitMountCommand(load), ledCommand(load))

	return root
}

func runCommand(load func() (*config.Config, error)) *cobra.Command {
	var on string

	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon until SIGTERM; what it supervises goes on and is adopted at the next start",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			platform, err := platformOf(on)
			if err != nil {
				return err
			}

			cfg, err := loadOrWait(cmd.Context(), load)
			if err != nil {
				return err
			}

			return run(cmd.Context(), cfg, platform)
		},
	}
	cmd.Flags().StringVar(&on, "platform", onAppliance, "what it runs on: "+onAppliance+" or "+onTalos)

	return cmd
}

// loadOrWait returns the configuration, or waits a while before it returns what is
// wrong with it.
func loadOrWait(ctx context.Context, load func() (*config.Config, error)) (*config.Config, error) {
	cfg, err := load()
	if err != nil {
		fmt.Fprintln(os.Stderr, "antlerd: this node stays as it is until that is mended:", err)

		select {
		case <-ctx.Done():
		case <-time.After(secondThoughts):
		}
	}

	return cfg, err
}

func validateCommand(load func() (*config.Config, error)) *cobra.Command {
	var here bool

	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration file and change nothing",
		Long: `Check the configuration file and change nothing: its form, its values and its
certificates. With --here, on the node it is for, also that its devices are
there and large enough, and that its floating addresses belong to a network of
this machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err == nil && here {
				err = config.ValidateLocal(cfg, config.Machine{})
			}

			if err != nil {
				return err
			}

			fmt.Fprintf(cmd.OutOrStdout(), "%s of cluster %s: the configuration is valid\n", cfg.Node.Name, cfg.Cluster.Name)

			return nil
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "also check what needs this machine: devices and networks")

	return cmd
}
