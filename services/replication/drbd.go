package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The one resource, and its minor.
const (
	resourceName = "meta"
	minor        = "0"
	drbdDevice   = "/dev/drbd0"
)

// ConfigPath is where the generated configuration goes. People can use it too:
// drbdadm -c /run/antler/drbd/meta.res status
const ConfigPath = "/run/antler/drbd/meta.res"

// Runner executes the system's programs.
type Runner interface {
	// Run returns what the program printed on its standard output. If it failed,
	// the error is a *CommandError.
	Run(ctx context.Context, command ...string) (string, error)
	// Follow calls line with each line the program prints, until it ends or ctx
	// does.
	Follow(ctx context.Context, line func(string), command ...string) error
}

// CommandError is a program that ran and failed.
type CommandError struct {
	Command []string
	// Code is the exit code, or -1 if it was killed or could not be started.
	Code int
	// Output is what it said on its standard error.
	Output string
}

// Error implements error.
func (e *CommandError) Error() string {
	output := strings.Join(strings.Fields(e.Output), " ")
	if output == "" {
		output = "it said nothing"
	}

	return fmt.Sprintf("%s: code %d: %s", strings.Join(e.Command, " "), e.Code, output)
}

// What drbdsetup 8.4 says when the kernel refuses, from drbd_strings.c. Its exit
// code is 11 for all of them, its own number is in brackets.
const (
	refusedTwoPrimaries = "(-1)"  // Multiple primaries not allowed by config
	refusedNoData       = "(-2)"  // Need access to UpToDate data
	refusedNotOutdated  = "(-7)"  // Refusing to be Primary while peer is not outdated
	refusedHeldOpen     = "(-12)" // Device is held open by someone
	refusedNoQuorum     = "(-25)" // No quorum, of DRBD 9
)

// refused reports whether err is the kernel's refusal for the reason.
func refused(err error, reason string) bool {
	var failed *CommandError

	return errors.As(err, &failed) && strings.Contains(failed.Output, "State change failed: "+reason)
}

// DRBD drives the resource "meta". Commands that change a state go to the kernel
// through drbdsetup, without a detour: a takeover waits for them. Those that need
// the configuration go through drbdadm.
type DRBD struct {
	Runner Runner
	// Config is the path of the configuration, Node the name under which this
	// node is in it: it need not be the host's name.
	Config, Node string
	// Module is the kernel's DRBD; nil stands for 8.4.
	Module *Module
}

func (d DRBD) admin(ctx context.Context, args ...string) error {
	command := append([]string{"env", "__DRBD_NODE__=" + d.Node, "drbdadm", "-c", d.Config}, args...)
	_, err := d.Runner.Run(ctx, command...)

	return err
}

func (d DRBD) setup(ctx context.Context, args ...string) error {
	_, err := d.Runner.Run(ctx, append([]string{"drbdsetup"}, args...)...)

	return err
}

// CreateMetadata writes DRBD's own metadata to the backing device, without asking
// and over whatever is there.
func (d DRBD) CreateMetadata(ctx context.Context) error {
	return d.admin(ctx, "create-md", "--force", resourceName)
}

// Adjust makes the kernel's configuration that of the file: it creates the
// resource, attaches and connects as far as that isn't so already.
func (d DRBD) Adjust(ctx context.Context, alone bool) error {
	err := d.admin(ctx, "adjust", resourceName)

	// Without a peer drbdadm does all but the network, and complains about that.
	var failed *CommandError
	if alone && errors.As(err, &failed) && strings.Contains(failed.Output, "without knowing my peer") {
		return nil
	}

	return err
}

// Connect tries to reach the peer again. It throws nothing away: on a split
// brain DRBD refuses and goes back to StandAlone.
func (d DRBD) Connect(ctx context.Context) error { return d.admin(ctx, "connect", resourceName) }

// ConnectDiscarding tries to reach the peer again. In a split brain this side's
// changes since then are undone, and it becomes the target of a resync.
func (d DRBD) ConnectDiscarding(ctx context.Context) error {
	return d.admin(ctx, "connect", "--discard-my-data", resourceName)
}

// Disconnect lets go of the peer without waiting for its consent.
func (d DRBD) Disconnect(ctx context.Context, self, peer string) error {
	return d.setup(ctx, "disconnect", self, peer, "--force")
}

// Leave parts from the peer in order: what was sent before arrives.
func (d DRBD) Leave(ctx context.Context) error { return d.admin(ctx, "disconnect", resourceName) }

// DeclareEqual skips the initial resync of two connected replicas that were just
// created. What is on them is taken to be the same.
func (d DRBD) DeclareEqual(ctx context.Context) error {
	return d.setup(ctx, "new-current-uuid", minor, "--clear-bitmap")
}

// Primary promotes. It may run the fence-peer handler and wait for it.
func (d DRBD) Primary(ctx context.Context) error { return d.setup(ctx, "primary", d.target()) }

// ForcePrimary promotes and takes what is on the device for good data.
func (d DRBD) ForcePrimary(ctx context.Context) error {
	return d.setup(ctx, "primary", d.target(), "--force")
}

// Secondary demotes.
func (d DRBD) Secondary(ctx context.Context) error { return d.setup(ctx, "secondary", d.target()) }

// ForceDetach lets go of the backing device without waiting for its I/O.
func (d DRBD) ForceDetach(ctx context.Context) error { return d.setup(ctx, "detach", minor, "--force") }

// Compare begins to compare all of both replicas, which goes on by itself; what differs
// counts as out of sync afterwards, and is not copied before they are connected anew.
// It begins with the first block: by itself DRBD goes on where the last one was broken off,
// be it before a power cut.
func (d DRBD) Compare(ctx context.Context) error { return d.setup(ctx, "verify", minor, "--start=0") }

// ResumeIO ends a freeze.
func (d DRBD) ResumeIO(ctx context.Context) error { return d.setup(ctx, "resume-io", minor) }

// Down takes the resource out of the kernel. What is on the disk stays.
func (d DRBD) Down(ctx context.Context) error { return d.setup(ctx, "down", resourceName) }

// Statistics returns the state with its counters, as events2 lines.
func (d DRBD) Statistics(ctx context.Context) (string, error) {
	return d.Runner.Run(ctx, "drbdsetup", "events2", "--now", "--statistics", resourceName)
}

// Watch tells every change of state, beginning with all of the state.
func (d DRBD) Watch(ctx context.Context, line func(string)) error {
	// Without the resource's name: it is watched before it exists, too.
	return d.Runner.Follow(ctx, line, "drbdsetup", "events2")
}

// commandTimeout ends a command that hangs in the kernel. Promoting has its own.
const commandTimeout = 20 * time.Second
