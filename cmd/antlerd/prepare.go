package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"antler/services/node"
	"antler/services/node/bootconfig"
	"antler/services/node/config"
)

// bootMount is where the boot partition is while it is looked at.
const bootMount = config.RunDir + "/boot"

func prepareCommand(configPath *string, load func() (*config.Config, error)) *cobra.Command {
	var bootPartition string

	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Set host name, network and console as the configuration says (the appliance image does so at boot)",
		Long: `Set host name, network and console as the configuration says. The appliance image
does so at boot. With --boot-partition the configuration is taken over first from
` + bootconfig.File + ` on that partition, if it is right; ` + bootconfig.StatusFile + ` beside it says
what became of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var refused error
			if bootPartition != "" {
				refused = takeOver(cmd.ErrOrStderr(), bootPartition, *configPath)
			}

			if refused != nil {
				// The light tells, see ledCommand. Without it the console still does.
				_ = os.WriteFile(refusedFlag, nil, 0o644)
			}

			cfg, err := load()
			if refused != nil && errors.Is(err, fs.ErrNotExist) {
				return errors.New("this node has no configuration yet")
			}

			if err != nil {
				return err
			}

			if note := k3sNote(cfg); note != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "antlerd:", note)
			}

			return node.Prepare(cfg, "/")
		},
	}
	cmd.Flags().StringVar(&bootPartition, "boot-partition", "", "block device with the FAT that holds "+bootconfig.File)

	return cmd
}

// k3sNote says that the image lacks the k3s that the configuration asks for.
func k3sNote(cfg *config.Config) string {
	missing := node.K3sMissing(cfg, "/")
	if missing == "" {
		return ""
	}

	return "node.k3s: " + missing
}

// takeOver says on the console what came of it and no more: the node goes on
// with the configuration that it has, if it has one.
func takeOver(console io.Writer, device, kept string) (refused error) {
	if kept == "" {
		kept = config.DefaultPath
	}

	err := bootconfig.Mount(device, bootMount, func(boot bootconfig.Partition) error {
		result := bootconfig.Take(boot, kept, time.Now(), k3sNote)
		refused = result.Refused

		if result.Message != "" {
			fmt.Fprintln(console, "antlerd:", result.Message)
		}

		for _, problem := range []error{result.Refused, result.Incomplete} {
			if problem != nil {
				fmt.Fprintln(console, "antlerd:", problem)
			}
		}

		return nil
	})
	if err != nil {
		fmt.Fprintln(console, "antlerd: going on with the configuration that is here:", err)
	}

	return refused
}
