package replication

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"antler/services/authority"
	"antler/services/node/config"
)

// side is one of the two nodes in DRBD's configuration.
type side struct {
	name, address, device string
}

// sides of the link. The peer's device is told only because the syntax asks for
// one: each node knows its own.
func sides(self string, spec ReplicaSpecSpec) []side {
	out := []side{{self, spec.SelfAddress, spec.Device}}
	if spec.Peer != "" {
		out = append(out, side{spec.Peer, spec.PeerAddress, spec.Device})
	}

	return out
}

// renderConfig writes drbd.conf(5) for the DRBD that the kernel has.
func (d DRBD) renderConfig(spec ReplicaSpecSpec, timing authority.Timing) (string, error) {
	if d.nine() {
		return renderConfigNine(d.Node, spec, timing)
	}

	return renderConfig(d.Node, spec, timing)
}

// renderConfig writes drbd.conf(5) of DRBD 8.4.
func renderConfig(self string, spec ReplicaSpecSpec, timing authority.Timing) (string, error) {
	var out strings.Builder

	fmt.Fprintf(&out, "# Written by antlerd; changes are lost.\nglobal { usage-count no; }\nresource %s {\n", resourceName)
	fmt.Fprintf(&out, "  options {\n    on-no-data-accessible io-error;\n  }\n")
	fmt.Fprintf(&out, "  disk {\n    fencing %s;\n    on-io-error detach;\n%s  }\n", fencing(spec), resync)
	fmt.Fprintf(&out, "  net {\n%s  }\n", netOptions(timing))

	for _, s := range sides(self, spec) {
		address, err := endpoint(s.address)
		if err != nil {
			return "", fmt.Errorf("configure replication for %s: %w", s.name, err)
		}

		fmt.Fprintf(&out, "  on %q {\n    device %s minor %s;\n    disk %q;\n    address %s;\n    meta-disk internal;\n  }\n",
			s.name, drbdDevice, minor, s.device, address)
	}

	out.WriteString("}\n")

	return out.String(), nil
}

// resync at a fixed rate. The default feels its way up from 250 KiB/s, and lets
// any other I/O push it down there: for the little that changed while a node was
// down it takes minutes, in which the other one can't be lost.
const resync = "    c-plan-ahead 0;\n    resync-rate 20M;\n    c-min-rate 4M;\n"

// fencing: with a peer no write goes on without it, or the quorum's word. A
// cluster of one has nobody to outdate, and DRBD would ask for it all the same.
func fencing(spec ReplicaSpecSpec) string {
	if spec.Peer == "" {
		return "dont-care"
	}

	return "resource-and-stonith"
}

// netOptions of a link. drbd.conf(5): timeout "must be lower than connect-int and
// ping-int", which are whole seconds; it is a tenth below where the table of
// times says the same.
func netOptions(timing authority.Timing) string {
	pingInt := max(1, int(timing.ReplicaPingInterval/time.Second))
	tenths := min(int(timing.ReplicaTimeout/(100*time.Millisecond)), 10*pingInt-1)

	options := []string{
		"protocol C",
		fmt.Sprintf("ping-int %d", pingInt),
		fmt.Sprintf("ping-timeout %d", max(1, int(timing.ReplicaPingTimeout/(100*time.Millisecond)))),
		fmt.Sprintf("timeout %d", tenths),
		fmt.Sprintf("connect-int %d", pingInt),
		// A peer whose disk stalls is let go after ko-count timeouts, during which
		// every client waits.
		"ko-count 5",
		// Nothing is ever thrown away without a person: see the package's page.
		"after-sb-0pri disconnect",
		"after-sb-1pri disconnect",
		"after-sb-2pri disconnect",
		"rr-conflict disconnect",
		// Resyncs compare before they send, and "drbdadm verify" is possible.
		"csums-alg crc32c",
		"verify-alg crc32c",
	}

	var out strings.Builder
	for _, option := range options {
		fmt.Fprintf(&out, "    %s;\n", option)
	}

	return out.String()
}

// endpoint is an address with the port, as the configuration has it.
func endpoint(address string) (string, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return "", fmt.Errorf("%q is no address: %w", address, err)
	}

	if ip.Is6() {
		return fmt.Sprintf("ipv6 [%s]:%d", ip, config.ReplicationPort), nil
	}

	return fmt.Sprintf("ipv4 %s:%d", ip, config.ReplicationPort), nil
}

// kernelEndpoint is the same as drbdsetup takes it.
func kernelEndpoint(address string) (string, error) {
	text, err := endpoint(address)

	return strings.Replace(text, " ", ":", 1), err
}

// writeConfig puts the configuration where drbdadm finds it.
func writeConfig(path, content string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		return fmt.Errorf("write DRBD's configuration: %w", err)
	}

	err = os.WriteFile(path+".new", []byte(content), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}

	if err != nil {
		return fmt.Errorf("write DRBD's configuration: %w", err)
	}

	return nil
}
