// Package command is what antlerctl does: it parses what a person wants, asks a
// node of the cluster over the API, and shows the answer in words or, for
// programs, as JSON or YAML. All decisions are taken by antlerd.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"antler/services/node/version"
)

// Environment is what a command sees of the world.
type Environment struct {
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// app is one run of antlerctl: the environment and the global flags.
type app struct {
	Environment
	config  string
	node    string
	output  string
	timeout time.Duration
}

// Execute runs the command line and returns the exit code. An error is printed.
func Execute(ctx context.Context, env Environment, args []string) int {
	root := New(env)
	root.SetArgs(args)

	cmd, err := root.ExecuteContextC(ctx)

	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		// Ctrl-C: the person knows why it ended.
		return exitInterrupted
	}

	failed := failureOf(cmd, err)
	if wantsJSON(cmd, err, args) {
		_, _ = fmt.Fprintln(env.Err, failed.json())
	} else {
		_, _ = fmt.Fprintln(env.Err, failed.text())
	}

	return failed.ExitCode
}

// wantsJSON asks the parsed flags. Only where the line couldn't be parsed it guesses
// from the line itself what they would have been.
func wantsJSON(cmd *cobra.Command, err error, args []string) bool {
	if cmd.Root().PersistentFlags().Lookup("output").Value.String() == formatJSON {
		return true
	}

	var bad unparsed

	return errors.As(err, &bad) && hasOutput(cmd) && asksForJSON(args)
}

// hasOutput: gen's -o is a place.
func hasOutput(cmd *cobra.Command) bool {
	own := cmd.Flags().Lookup("output")

	return own == nil || own == cmd.Root().PersistentFlags().Lookup("output")
}

func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return i+1 < len(args) && args[i+1] == formatJSON
		case "--":
			return false
		}
	}

	return false
}

const rootHelp = `antlerctl looks at and steers a cluster of Antler nodes.

It reaches the cluster with a client configuration, which "antlerctl gen config"
makes (admin.yaml, reader.yaml). Any node will do: the endpoints in it are tried
in order, and what another node must carry out is passed on to it. On a node
itself, root needs no configuration. A node that is a virtual machine on this host
can also be reached past its network, at the address vsock:CID.

The client configuration is, in this order: --config, $ANTLERCONFIG,
~/.antler/config.yaml, and else the unix socket of the node it runs on.

The exit code is 0 when it is done, 1 when it failed, 2 when the command line is at
fault (nothing was done), 130 after Ctrl-C. With -o json an error is one line on
stderr, always of this shape:

  {"error": {"code": "FailedPrecondition", "reason": "TARGET_NOT_UP_TO_DATE",
   "message": "what is wrong", "hints": ["what to do"],
   "fields": [{"field": "--size", "description": "what is wrong with it"}],
   "exit_code": 1}}

code is one of gRPC's, reason a word within it; hints and fields may be empty.`

const rootExample = `  antlerctl gen config cluster.yaml -o home     # a CA and everybody's files
  antlerctl flash antler.img.xz /dev/sdX --node-config home/n1.yaml
  export ANTLERCONFIG=$PWD/home/admin.yaml
  antlerctl status                              # who serves, what is wrong
  antlerctl events -f                           # what happens, as it happens
  antlerctl switchover                          # move the master in good order
  antlerctl volume create photos --size 200GiB`

// New returns the whole command.
func New(env Environment) *cobra.Command {
	a := &app{Environment: env}

	root := &cobra.Command{
		Use:           "antlerctl",
		Short:         "Look at and steer a cluster of Antler nodes",
		Long:          rootHelp,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			err := checkRequired(cmd)

			if err == nil && hasOutput(cmd) {
				err = a.checkOutput()
			}

			return err
		},
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetFlagErrorFunc(flagMistake)
	root.SetHelpCommand(helpCommand())

	flags := root.PersistentFlags()
	flags.StringVarP(&a.config, "config", "c", "", "client configuration (default $ANTLERCONFIG, ~/.antler/config.yaml)")
	flags.StringVarP(&a.node, "node", "n", "", "ask this node, and no other")
	flags.StringVarP(&a.output, "output", "o", formatTable, "table, json or yaml")
	flags.DurationVar(&a.timeout, "timeout", 0, "give up after this time (default 30s; what moves the master 2m; following never ends)")

	// Completion is a comfort: without a configuration there is just none.
	_ = root.RegisterFlagCompletionFunc("node", a.completeNodes)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))

	a.addCommands(root)
	root.InitDefaultCompletionCmd()
	groups(root)

	return root
}

// addCommands in the order in which a person needs them.
func (a *app) addCommands(root *cobra.Command) {
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Look:", []*cobra.Command{a.statusCommand(), a.eventsCommand(), a.servicesCommand(), a.logsCommand(), a.getCommand()}},
		{"Use:", []*cobra.Command{a.volumeCommand()}},
		{"Steer:", []*cobra.Command{a.switchoverCommand(), a.upgradeCommand(), a.nodeCommand()}},
		{"Set up:", []*cobra.Command{a.genCommand(), a.flashCommand()}},
		{"When something is lost:", []*cobra.Command{a.failoverCommand(), a.metadataCommand(), a.replicationCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})

		for _, cmd := range group.commands {
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}

	root.AddCommand(a.versionCommand())
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print antlerctl's version (status shows the nodes')",
		Example: "  antlerctl version\n  antlerctl status -o json | jq -r '.cluster.nodes[] | .name + \" \" + .version'",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			switch a.output {
			case formatJSON:
				return json.NewEncoder(a.Out).Encode(map[string]string{"version": version.Version})
			case formatYAML:
				_, err := fmt.Fprintf(a.Out, "---\nversion: %q\n", version.Version)

				return err
			default:
				_, err := fmt.Fprintln(a.Out, version.Version)

				return err
			}
		},
	}
}
