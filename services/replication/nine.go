package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"antler/services/authority"
)

// DRBD 9 has no use for the handler here. Its quorum option does the same
// without running a program of the host: with `quorum 2`, a number and so true
// whatever DRBD knows of the peer, a replica that lost the other one freezes and
// is not promoted. When our quorum has recorded that the peer is outdated, and
// not before, antlerd sets the option to off (GoOnAlone). It sets it to 2 again
// before it asks whether the peer has caught up (PeerUpToDate), and before each
// promotion (NeedBoth): so while our quorum takes the peer to hold every write,
// none can be done without it.
//
// All of this was written after drbd-utils 9.22 and the sources of DRBD 9.2 and
// 9.3, whose parser checks the configuration in a test; it has not run on a
// DRBD 9.

// Version is a line of DRBD's releases.
type Version string

// The lines that are known.
const (
	Version84 Version = "8.4"
	Version9  Version = "9"
)

// ProcDRBD is where the kernel says which DRBD it has.
const ProcDRBD = "/proc/drbd"

// Module is the kernel's DRBD. All that drives it on a node share one; nil stands
// for 8.4.
type Module struct {
	path    string
	version atomic.Pointer[Version]

	// mu keeps the setting of DRBD 9's quorum option and what it depends on
	// together; checks counts the times that both replicas were made needed.
	mu     sync.Mutex
	checks uint64
}

// NewModule returns the module that path, ProcDRBD, tells of.
func NewModule(path string) *Module { return &Module{path: path} }

// Version of the module. It is looked up until the module is loaded, and taken
// for 8.4 until then.
func (m *Module) Version() Version {
	if m == nil {
		return Version84
	}

	if v := m.version.Load(); v != nil {
		return *v
	}

	content, err := os.ReadFile(m.path)
	if err != nil {
		return Version84
	}

	v := parseVersion(content)
	m.version.Store(&v)

	return v
}

// parseVersion reads "version: 9.2.14 (api:2/proto:118-122)".
func parseVersion(content []byte) Version {
	first, _, _ := bytes.Cut(content, []byte("\n"))

	number, found := strings.CutPrefix(string(first), "version: ")
	if found && strings.HasPrefix(number, "9.") {
		return Version9
	}

	return Version84
}

// nine reports whether this is DRBD 9.
func (d DRBD) nine() bool { return d.Module.Version() == Version9 }

// target is what "primary" and "secondary" take.
func (d DRBD) target() string {
	if d.nine() {
		return resourceName
	}

	return minor
}

// Values of DRBD 9's quorum option.
const (
	quorumBoth = "2"
	quorumOff  = "off"
)

// setQuorum changes how many replicas DRBD 9 needs to write.
func (d DRBD) setQuorum(ctx context.Context, quorum string) error {
	return d.setup(ctx, "resource-options", resourceName, "--quorum="+quorum)
}

// NeedBoth has DRBD 9 need both replicas before this one is promoted. Whatever
// was before, it then writes alone only with the quorum's word.
func (d DRBD) NeedBoth(ctx context.Context, spec ReplicaSpecSpec) error {
	if !d.nine() || spec.Peer == "" {
		return nil
	}

	return d.setQuorum(ctx, quorumBoth)
}

// errPeerWasBack: what the quorum recorded of the peer may no longer be so.
var errPeerWasBack = errors.New("the peer was back meanwhile: the quorum has to be asked again")

// question is to be drawn before the quorum is asked to outdate the peer.
func (d DRBD) question() uint64 {
	if d.Module == nil {
		return 0
	}

	d.Module.mu.Lock()
	defer d.Module.mu.Unlock()

	return d.Module.checks
}

// GoOnAlone ends a freeze for want of the peer. The quorum must have recorded
// that the peer is outdated since the question was drawn. If the peer was found
// up to date since then, the quorum may believe it again: nothing is done.
func (d DRBD) GoOnAlone(ctx context.Context, question uint64) error {
	if !d.nine() {
		return d.ResumeIO(ctx)
	}

	d.Module.mu.Lock()
	defer d.Module.mu.Unlock()

	if d.Module.checks != question {
		return errPeerWasBack
	}

	return d.setQuorum(ctx, quorumOff)
}

// ForceSecondary demotes DRBD 9 and ends all I/O, frozen or to come, with errors.
func (d DRBD) ForceSecondary(ctx context.Context) error {
	return d.setup(ctx, "secondary", resourceName, "--force")
}

// peerUpToDateNine has DRBD need both replicas from now on, and then asks whether
// they are connected and up to date. If the peer is lost in between, I/O freezes.
func (d DRBD) peerUpToDateNine(ctx context.Context) (bool, error) {
	d.Module.mu.Lock()
	defer d.Module.mu.Unlock()

	d.Module.checks++

	err := d.setQuorum(ctx, quorumBoth)
	if err != nil {
		return false, err
	}

	output, err := d.Runner.Run(ctx, "drbdsetup", "status", "--json", resourceName)
	if err != nil {
		return false, err
	}

	k, err := parseStatus(output)

	return err == nil && k.connection == connected && k.disk == diskUpToDate && k.peerDisk == diskUpToDate && k.suspended == "", err
}

// promoteAlone promotes DRBD 9 without the peer, with our quorum's word. DRBD
// takes a replica whose primary went without a word for Consistent only, and has
// to be forced; the quorum has granted the epoch to this one because it holds
// every acknowledged write. One that DRBD knows to be behind is never forced.
func (a actions) promoteAlone(ctx context.Context, spec ReplicaSpecSpec, look func() kernel, refusal error) error {
	before := look()
	if before.connection == connected || before.disk != diskUpToDate && before.disk != diskConsistent {
		return refusal
	}

	question := a.drbd.question()

	err := a.fencer.Outdate(ctx, spec.Peer)
	if err != nil {
		return fmt.Errorf("have %s outdated: %w", spec.Peer, err)
	}

	// As in fence: a peer that was back meanwhile may no longer be outdated.
	if look().connects != before.connects {
		return refusal
	}

	err = a.drbd.GoOnAlone(ctx, question)
	if err != nil {
		return err
	}

	err = a.drbd.Primary(ctx)
	if refused(err, refusedNoData) && look().disk == diskConsistent {
		return a.drbd.ForcePrimary(ctx)
	}

	return err
}

// jsonStatus is the part of `drbdsetup status --json` that matters here.
type jsonStatus struct {
	Name             string `json:"name"`
	Role             Role   `json:"role"`
	SuspendedUser    bool   `json:"suspended-user"`
	SuspendedNoData  bool   `json:"suspended-no-data"`
	SuspendedFencing bool   `json:"suspended-fencing"`
	SuspendedQuorum  bool   `json:"suspended-quorum"`
	Devices          []struct {
		DiskState string `json:"disk-state"`
		Size      uint64 `json:"size"`
	} `json:"devices"`
	Connections []struct {
		ConnectionState string `json:"connection-state"`
		PeerRole        Role   `json:"peer-role"`
		PeerDevices     []struct {
			ReplicationState string `json:"replication-state"`
			PeerDiskState    string `json:"peer-disk-state"`
			OutOfSync        uint64 `json:"out-of-sync"`
		} `json:"peer_devices"`
	} `json:"connections"`
}

// parseStatus returns the state that `drbdsetup status --json` tells. More than
// our one volume and one peer is an error: what one of them says must not pass
// for the other.
func parseStatus(output string) (kernel, error) {
	var all []jsonStatus

	err := json.Unmarshal([]byte(output), &all)
	if err != nil {
		return kernel{}, fmt.Errorf("read what drbdsetup status says: %w", err)
	}

	out := kernel{known: true}

	for _, r := range all {
		if r.Name != resourceName {
			continue
		}

		if len(r.Devices) > 1 || len(r.Connections) > 1 {
			return kernel{}, fmt.Errorf("read what drbdsetup status says: %s has %d volumes and %d peers: somebody else configured it",
				resourceName, len(r.Devices), len(r.Connections))
		}

		out.exists, out.role, out.suspended = true, r.Role, r.suspended()

		for _, d := range r.Devices {
			out.disk, out.size = d.DiskState, d.Size
		}

		for _, c := range r.Connections {
			out.connection, out.peerRole = c.ConnectionState, c.PeerRole

			for _, p := range c.PeerDevices {
				out.replication, out.peerDisk, out.outOfSync = p.ReplicationState, p.PeerDiskState, p.OutOfSync
			}
		}
	}

	return out, nil
}

// suspended is the word that events2 has for it.
func (r jsonStatus) suspended() string {
	var words []string

	for _, reason := range []struct {
		is   bool
		word string
	}{
		{r.SuspendedUser, "user"}, {r.SuspendedNoData, "no-data"},
		{r.SuspendedFencing, suspendedFencing}, {r.SuspendedQuorum, suspendedQuorum},
	} {
		if reason.is {
			words = append(words, reason.word)
		}
	}

	return strings.Join(words, ",")
}

// renderConfigNine writes drbd.conf(5) of DRBD 9. Nothing is promoted by being
// opened, and no handler is called.
func renderConfigNine(self string, spec ReplicaSpecSpec, timing authority.Timing) (string, error) {
	var out strings.Builder

	quorum := quorumBoth
	if spec.Peer == "" {
		quorum = quorumOff
	}

	fmt.Fprintf(&out, "# Written by antlerd; changes are lost.\nglobal { usage-count no; }\nresource %s {\n", resourceName)
	fmt.Fprintf(&out, "  options {\n    on-no-data-accessible io-error;\n    auto-promote no;\n    quorum %s;\n    on-no-quorum suspend-io;\n  }\n", quorum)
	fmt.Fprintf(&out, "  disk {\n    on-io-error detach;\n%s  }\n", resync)
	fmt.Fprintf(&out, "  net {\n    fencing dont-care;\n%s  }\n", netOptions(timing))

	for _, s := range sides(self, spec) {
		address, err := endpoint(s.address)
		if err != nil {
			return "", fmt.Errorf("configure replication for %s: %w", s.name, err)
		}

		fmt.Fprintf(&out, "  on %q {\n    node-id %s;\n    address %s;\n    volume 0 {\n      device %s minor %s;\n      disk %q;\n      meta-disk internal;\n    }\n  }\n",
			s.name, nodeID(s.name, self, spec.Peer), address, drbdDevice, minor, s.device)
	}

	out.WriteString("}\n")

	return out.String(), nil
}

// nodeID of one of two nodes, which both of them give it.
func nodeID(name, self, peer string) string {
	id := 0
	if name == max(self, peer) && peer != "" {
		id = 1
	}

	return strconv.Itoa(id)
}
