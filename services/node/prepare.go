package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"antler/services/node/config"
)

// Places that Prepare writes below its root. All of them but k3s's drop-in, which
// is looked for in one place only, are volatile, so that a changed configuration
// leaves nothing of the old one behind.
const (
	networkFile      = "run/systemd/network/10-antler.network"
	resolvFile       = "run/antler/resolv.conf"
	consoleShellFlag = "run/antler/console-shell"
	hostnameFile     = "proc/sys/kernel/hostname"
)

// Prepare gives the machine its host name, its network configuration (in
// systemd-networkd's own form) and, where the configuration asks for it, k3s its
// settings and role, and the flag that starts a root shell on the console. Root is "/" but in tests.
func Prepare(cfg *config.Config, root string) error {
	err := write(root, hostnameFile, cfg.Node.Name)
	if err != nil {
		return fmt.Errorf("set host name %q: %w", cfg.Node.Name, err)
	}

	network := networkUnit(cfg.Node.Network)
	if network != "" {
		err = write(root, networkFile, network)
		if err != nil {
			return fmt.Errorf("configure network: %w", err)
		}
	}

	err = write(root, resolvFile, nameservers(cfg.Node.Network))
	if err != nil {
		return fmt.Errorf("configure name servers: %w", err)
	}

	err = prepareK3s(cfg, root)
	if err != nil {
		return fmt.Errorf("configure k3s: %w", err)
	}

	if !cfg.Node.Debug.ConsoleShell {
		return nil
	}

	err = write(root, consoleShellFlag, "")
	if err != nil {
		return fmt.Errorf("open console shell: %w", err)
	}

	return nil
}

// networkUnit renders the systemd.network(5) file of the cluster's interface,
// or "" where the configuration leaves the network to the system.
func networkUnit(n config.Network) string {
	if n.MAC == "" && n.Interface == "" {
		return ""
	}

	var b strings.Builder

	b.WriteString("[Match]\n")
	line(&b, "PermanentMACAddress", n.MAC)
	line(&b, "Name", n.Interface)
	b.WriteString("\n[Network]\n")
	// The floating address is antlerd's: networkd must neither remove it when
	// it reconfigures the link nor wait for an autoconfigured one.
	b.WriteString("KeepConfiguration=yes\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n")

	if n.DHCP {
		line(&b, "DHCP", "yes")
	}

	for _, address := range n.Addresses {
		line(&b, "Address", address.String())
	}

	for _, server := range n.NTP {
		line(&b, "NTP", server)
	}

	if n.Gateway.IsValid() {
		line(&b, "Gateway", n.Gateway.String())
	}

	return b.String()
}

// nameservers renders resolv.conf(5). The image runs no resolver of its own.
func nameservers(n config.Network) string {
	var b strings.Builder

	for _, server := range n.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}

	return b.String()
}

func line(b *strings.Builder, key, value string) {
	if value != "" {
		fmt.Fprintf(b, "%s=%s\n", key, value)
	}
}

func write(root, name, content string) error {
	path := filepath.Join(root, name)

	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		return err
	}

	return os.WriteFile(path, []byte(content), 0o644)
}
