package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"antler/services/node/config"
)

// Options of a cluster.
type Options struct {
	// Dir is where everything of the cluster lies; what is there is replaced.
	Dir string
	// Image to boot, Agent the guest's client program.
	Image Image
	Agent string
	// Nodes is the number of machines, 1 or 3; 3 if it is 0.
	Nodes int
	// Antlerctl is the program that writes the image to the machines' disks; if it
	// is empty they are copied, which is quicker.
	Antlerctl string
	// Loader is the boot loader that starts what it finds on the machines' disks
	// (Loader); if it is empty QEMU starts the image's kernel itself, which is quicker.
	Loader string
	// Programs are carried into the machines beside the agent, to ProgramDir.
	Programs []string
	// Durability of the cluster's metadata; the default if it is empty.
	Durability config.Durability
	// Backup of the cluster's metadata; off if it is empty.
	Backup config.Backup
	// Kubernetes is the cluster's setting; off if it is empty.
	Kubernetes config.Kubernetes
	// ReachHost lets the machines connect to this host's loopback addresses, at
	// controlplane.Gateway.
	ReachHost bool
	// Forwards are TCP ports of the machines that lead in from this host: see
	// Machine.Forwarded.
	Forwards []int
	// MemoryMiB of each machine; 0 is 1536, and 2048 with Talos.
	MemoryMiB int
	// ReplicaSize of the disks for the metadata in bytes; 0 is ReplicaSize.
	ReplicaSize int64
	// Seed of the workloads and of the switch's losses.
	Seed uint64
	// Progress is told what happens.
	Progress io.Writer
}

// Cluster is three machines: n1 and n2 with replicas, n3 the witness; all store
// chunks and mount. Or it is n1 alone.
type Cluster struct {
	Options

	Machines []*Machine
	Switch   *Switch
	// Admin is a client configuration that reaches the nodes from this host.
	Admin *config.Client

	start time.Time
	// cuts are the lab's own events, by machine.
	cuts map[string][]Event
}

// Floating is the address of the cluster's master.
const Floating = "10.77.0.10"

// MountPath is the node-wide mount on every machine.
const MountPath = config.MountPath

// New makes the machines and their blank disks, and doesn't start them.
func New(ctx context.Context, options Options) (*Cluster, error) {
	c := &Cluster{Options: options, Switch: NewSwitch(options.Seed), start: time.Now(), cuts: map[string][]Event{}}

	if c.Nodes == 0 {
		c.Nodes = 3
	}

	err := os.RemoveAll(options.Dir)
	if err != nil {
		return nil, err
	}

	// The path goes into socket names, which must be short, and into QEMU.
	c.Dir, err = filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}

	err = os.MkdirAll(c.Dir, 0o755)
	if err != nil {
		return nil, err
	}

	tools := filepath.Join(c.Dir, "tools.img")

	arguments := append([]string{options.Agent}, options.Programs...)
	arguments = append(arguments, tools, "-noappend", "-quiet", "-no-progress")

	output, err := exec.CommandContext(ctx, "mksquashfs", arguments...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make the disk with the agent: %w: %s", err, output)
	}

	for i := range c.Nodes {
		err = c.addMachine(i+1, tools)
		if err != nil {
			return nil, err
		}
	}

	return c, c.flash(ctx)
}

func (c *Cluster) addMachine(index int, tools string) error {
	m := &Machine{
		Name: fmt.Sprintf("n%d", index), image: c.Image, loader: c.Loader, index: index, toolsD: tools, console: newConsole(),
		reachHost: c.ReachHost, memory: cmp.Or(c.MemoryMiB, c.Image.memory()),
		replica: cmp.Or(c.ReplicaSize, ReplicaSize),
	}
	m.Dir = filepath.Join(c.Dir, m.Name)

	err := os.MkdirAll(m.Dir, 0o755)
	if err != nil {
		return err
	}

	m.APIPort, err = freePort()
	if err != nil {
		return err
	}

	if c.Image.talos {
		m.TalosPort, err = freePort()
		if err != nil {
			return err
		}
	}

	m.Forwarded = map[int]int{}

	for _, port := range c.Forwards {
		m.Forwarded[port], err = freePort()
		if err != nil {
			return err
		}
	}

	m.records, err = newRecordPort(filepath.Join(m.Dir, "records.jsonl"))
	if err != nil {
		return err
	}

	c.Machines = append(c.Machines, m)

	return c.Switch.Plug(m.Name, filepath.Join(m.Dir, "network.sock"))
}

// freePort asks the kernel for a port nobody uses.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()

	return listener.Addr().(*net.TCPAddr).Port, nil
}

// Say prints progress with the time since the cluster was made.
func (c *Cluster) Say(format string, args ...any) {
	fmt.Fprintf(c.Progress, "%7.1f s  %s\n", time.Since(c.start).Seconds(), fmt.Sprintf(format, args...))
}

// Machine returns the machine called name.
func (c *Cluster) Machine(name string) *Machine {
	for _, m := range c.Machines {
		if m.Name == name {
			return m
		}
	}

	return nil
}

// Others returns the names of all machines but m.
func (c *Cluster) Others(m *Machine) []string {
	var names []string

	for _, other := range c.Machines {
		if other != m {
			names = append(names, other.Name)
		}
	}

	return names
}

// Close ends every machine.
func (c *Cluster) Close() {
	for _, m := range c.Machines {
		m.PowerCut()
	}

	c.Switch.Close()
}

// PowerCut pulls the plug of a machine, and notes it among its events.
func (c *Cluster) PowerCut(m *Machine) time.Time {
	at := m.PowerCut()
	c.cuts[m.Name] = append(c.cuts[m.Name], Event{Time: at, Node: m.Name, Kind: powerCutKind, Message: "power cut"})
	c.Say("%s: power cut", m.Name)

	return at
}

// Silence notes that antlerd stands still on the machine. What its master does then
// nobody tells, until the watchdog resets the machine: DRBD lets it write nothing that
// counts once another serves (docs/limits.md), and whether that holds the clients'
// records say.
func (c *Cluster) Silence(m *Machine) {
	c.cuts[m.Name] = append(c.cuts[m.Name], Event{Time: time.Now(), Node: m.Name, Kind: silentKind, Message: "antlerd stands still"})
}

// PowerOn starts a machine and makes its agent ready.
func (c *Cluster) PowerOn(ctx context.Context, machines ...*Machine) error {
	marks := map[string]int{}

	for _, m := range machines {
		marks[m.Name] = m.console.Len()

		err := m.PowerOn()
		if err != nil {
			return err
		}
	}

	for _, m := range machines {
		// The first event comes from an antlerd that runs: by then the shell does.
		_, err := m.console.Wait(ctx, marks[m.Name], func(line string) bool { return strings.Contains(line, eventPrefix) })
		if err != nil {
			return fmt.Errorf("wait for antlerd on %s: %w\n%s", m.Name, err, tail(m))
		}

		// Talos has no shell to type at.
		if !c.Image.talos {
			err = m.ReadyAgent(ctx)
		}

		if err != nil {
			return fmt.Errorf("%w\n%s", err, tail(m))
		}

		c.Say("%s: antlerd runs", m.Name)
	}

	return nil
}

// ReadyAgent puts the agent in place, if it isn't there: a machine that has reset
// itself has it no more.
func (m *Machine) ReadyAgent(ctx context.Context) error {
	_, err := m.console.Run(ctx, "[ -x "+agent+" ] || { mkdir -p "+ProgramDir+" && mount -t squashfs -o ro /dev/disk/by-id/virtio-lab "+ProgramDir+"; }")
	if err != nil {
		return fmt.Errorf("make the agent ready on %s: %w", m.Name, err)
	}

	return nil
}

func tail(m *Machine) string {
	var b strings.Builder

	for _, line := range m.console.Tail(40) {
		fmt.Fprintf(&b, "  %s %s | %s\n", line.At.Format("15:04:05.000"), m.Name, line.Text)
	}

	return b.String()
}

// Tails returns the last lines of every console.
func (c *Cluster) Tails() string {
	var b strings.Builder

	for _, m := range c.Machines {
		fmt.Fprintf(&b, "--- console of %s (all of it in %s)\n%s", m.Name, filepath.Join(m.Dir, "console.log"), tail(m))
	}

	return b.String()
}

// Marks remembers where each console is now.
func (c *Cluster) Marks() map[string]int {
	marks := map[string]int{}
	for _, m := range c.Machines {
		marks[m.Name] = m.console.Len()
	}

	return marks
}

// EventsSince returns the events of all nodes since the marks, and the lab's.
func (c *Cluster) EventsSince(marks map[string]int, since time.Time) []Event {
	var events []Event

	for _, m := range c.Machines {
		events = append(events, m.console.Events(marks[m.Name])...)
		events = append(events, m.console.resets(marks[m.Name], m.Name)...)

		for _, cut := range c.cuts[m.Name] {
			if !cut.Time.Before(since) {
				events = append(events, cut)
			}
		}
	}

	return events
}

// TwoMasters returns what speaks against "never two masters at a time", over
// the whole life of the cluster.
func (c *Cluster) TwoMasters() []string {
	_, intervals := c.servingIntervals()

	return Overlaps(intervals)
}

// KernelFaults returns where a kernel died, or nearly, over the whole life of the
// cluster. A machine that reboots by itself then looks healthy again a minute later.
func (c *Cluster) KernelFaults() []string {
	var out []string

	for _, m := range c.Machines {
		for _, line := range m.console.Lines(0) {
			if kernelFault(line.Text) {
				out = append(out, fmt.Sprintf("%s %s: %s", line.At.Format("15:04:05.000"), m.Name, line.Text))
			}
		}
	}

	return out
}

// LateStops returns masters that outlived their epoch, over the whole life of the
// cluster.
func (c *Cluster) LateStops() []string { return LateStops(c.servingIntervals()) }

func (c *Cluster) servingIntervals() (all []Event, intervals []Serving) {
	for _, m := range c.Machines {
		events := slices.Concat(m.console.Events(0), m.console.resets(0, m.Name), c.cuts[m.Name])
		sortEvents(events)
		all = append(all, events...)
		intervals = append(intervals, ServingIntervals(events)...)
	}

	return all, intervals
}
