package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// unparsed is a usageError for which the flags are not known.
type unparsed struct{ error }

func (u unparsed) Unwrap() error { return u.error }

// mistake is a usageError that ends with where to read on.
func mistake(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Errorf("%s: see `%s --help`", fmt.Sprintf(format, args...), cmd.CommandPath())}
}

// synopsis is the command as it is to be written.
func synopsis(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return cmd.Use
	}

	return cmd.Parent().CommandPath() + " " + cmd.Use
}

// args wraps a check of arguments so that its error is a usageError.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if check(cmd, given) == nil {
			return nil
		}

		if len(given) == 0 {
			return mistake(cmd, "something is missing: write `%s`", synopsis(cmd))
		}

		// The first that could not be there.
		for n := range given {
			if check(cmd, given[:n]) == nil {
				return mistake(cmd, "%q is one too many: write `%s`", given[n], synopsis(cmd))
			}
		}

		return mistake(cmd, "something is missing after %q: write `%s`", given[len(given)-1], synopsis(cmd))
	}
}

func noArgs(cmd *cobra.Command, given []string) error { return args(cobra.NoArgs)(cmd, given) }

// groups has each command that only holds others show its help, and say what is
// wrong with a name that none of them has.
func groups(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		groups(below)
	}

	if !cmd.HasSubCommands() {
		return
	}

	cmd.SuggestionsMinimumDistance, cmd.DisableFlagsInUseLine = 2, true
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if len(given) == 0 {
			return nil
		}

		return unknownCommand(cmd, given[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

func unknownCommand(cmd *cobra.Command, name string) error {
	return mistake(cmd, "unknown command %q for %q%s", name, cmd.CommandPath(), didYouMean(cmd.SuggestionsFor(name)))
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}

	return ": did you mean " + strings.Join(names, " or ") + "?"
}

// flagMistake explains what pflag found. What stands before a flag that a group of
// commands doesn't have is a command that it doesn't have either.
func flagMistake(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		if name := cmd.Flags().Arg(0); name != "" {
			return unparsed{unknownCommand(cmd, name)}
		}
	}

	var near string

	if name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --"); unknown {
		near = didYouMean(nearFlags(cmd, name))
	}

	return unparsed{mistake(cmd, "%v%s", err, near)}
}

// nearFlags are found as cobra finds near commands.
func nearFlags(cmd *cobra.Command, name string) []string {
	all := &cobra.Command{SuggestionsMinimumDistance: 2}

	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		all.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})

	var near []string
	for _, found := range all.SuggestionsFor(name) {
		near = append(near, "--"+found)
	}

	return near
}

// checkRequired names all flags that are missing at once. Cobra's own check comes
// after it.
func checkRequired(cmd *cobra.Command) error {
	var missing []string

	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})

	if len(missing) == 0 {
		return nil
	}

	return mistake(cmd, "%s is missing: write `%s`", strings.Join(missing, " and "), synopsis(cmd))
}

// helpCommand is cobra's, but for what it says to a name that nobody has.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "The help of a command",
		Example: "  antlerctl help volume create",
		RunE: func(cmd *cobra.Command, given []string) error {
			found, rest, err := cmd.Root().Find(given)
			if err == nil && len(rest) == 0 {
				return found.Help()
			}

			if found == nil || len(rest) == 0 {
				found, rest = cmd.Root(), given
			}

			return unknownCommand(found, rest[0])
		},
	}
}
